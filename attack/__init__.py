"""The attacks that the system is to hold, tried against a stack of its own: `python3 run.py attack`."""
