"""Reads a table from a file, CSV or Excel, as a stream: a row at a time, in the same memory whatever its size.

This is the only package that uses openpyxl, and only for the formats of numbers: openpyxl never opens an untrusted
file. The domain decides which rows can be sent to.
"""
