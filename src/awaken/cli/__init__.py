"""The command `awaken`: one file for each group of commands.

Commands talk to a running server by HTTP (`session`), so they see what any client sees. What is
slow to import is imported by the command that needs it: `awaken --help` must not be waited for.
"""
