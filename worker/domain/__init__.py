"""Plain values and rules of the trade. Standard library only, no clock, no I/O: `now` is always an argument."""
