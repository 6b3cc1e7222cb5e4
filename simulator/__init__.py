"""A stand-in for the SMS gateway: it behaves as the vendor's document says, and badly on request.

It keeps a log of every call it took, which makes it the judge of "never twice". It imports nothing from the system it tests.
"""
