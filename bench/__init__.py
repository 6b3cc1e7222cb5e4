"""Repeatable benchmarks, each with its own yardstick: `python3 run.py bench send`."""
