"""Agent protocols: each is a view of the same run."""
