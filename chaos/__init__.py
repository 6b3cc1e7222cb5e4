"""The proof under fire: `python3 run.py chaos` runs the whole system, breaks parts of it at random, and checks the
results.

The words are Jepsen's. A workload sends messages and keeps a history, a nemesis breaks things, and a checker compares
the history with the ledger and the gateway's log.
"""
