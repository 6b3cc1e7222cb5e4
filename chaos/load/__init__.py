"""The engine in bad company: `python3 run.py chaos load` floods it, poisons it, gives it a sick neighbour and a bad gateway.

All of it at once; what it owes its users meanwhile is measured, and each figure stands beside its bound.
"""
