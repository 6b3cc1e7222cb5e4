"""Attacks that once succeeded, tried again against a stack of its own: `python3 run.py attack`."""
