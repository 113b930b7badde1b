"""The event log in motion: one writer for each attempt, one hub for all readers of a process."""
