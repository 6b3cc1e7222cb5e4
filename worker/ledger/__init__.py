"""The ledger: the lasting truth of the system, and the one package of `worker` that builds SQL. It has a module for
each thing that is kept.

A function takes a connection, and neither begins nor commits: the verb that calls it decides what belongs together.
These take an engine, and begin and commit by themselves: `schema`, `engine.in_batches`, `health.ledger_time`,
`health.check_writable`, `evidence.find_probably_not_taken` and `accounts.MsgIds`.
"""
