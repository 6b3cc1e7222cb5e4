"""Repeatable benchmarks, each against what it should be measured by: `python3 run.py bench send`."""
