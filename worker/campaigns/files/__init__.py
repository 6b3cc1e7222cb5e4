"""Reads a table from a file, CSV or Excel, as a stream: a row at a time, in the same memory whatever its size.

The one package that uses openpyxl, for the formats of numbers alone: it reads no file of a stranger's.
What the rows are good for is the domain's.
"""
