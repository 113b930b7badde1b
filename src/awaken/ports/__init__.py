"""The seams of the system: one Protocol per file, its contract in the docstring."""
