"""The ledger: what is true. The one package that uses SQLAlchemy; a module per thing that is kept.

Every function takes a connection and neither begins nor commits: the verb that calls it decides what belongs together.
"""
