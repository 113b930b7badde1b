"""Records and rules.

No I/O, no clock, no randomness. Times are epoch milliseconds, ids are arguments.
"""
