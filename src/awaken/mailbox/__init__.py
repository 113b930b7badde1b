"""The control plane: whether a run may start now, who owns it, and what becomes of it."""
