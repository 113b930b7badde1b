"""Requests to the outside: which addresses may be reached, and fetching with limits."""
