"""The ledger: the lasting truth of the system, and the one package of `worker` that builds SQL. It has a module for
each thing that is kept.

Every function takes a connection, and none begins or commits: the verb that calls it decides what belongs together.
"""
