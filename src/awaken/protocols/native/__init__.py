"""The native HTTP API: the server's own names for all it can do."""
