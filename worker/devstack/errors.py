"""The error of everything here.

It is apart, so that the command line can show it in production, where the rest is not needed.
"""


class StackError(RuntimeError):
    """A process did not start or did not keep running. The text names the process and its log."""
