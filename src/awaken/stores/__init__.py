"""Implementations of the Store port, and the wrappers that fit round any of them."""
