"""The proof under fire: `python3 run.py chaos` runs the whole system, breaks it at random, and counts what came of it."""
