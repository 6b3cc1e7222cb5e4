"""A stand-in for the SMS gateway. It behaves as the vendor's document says, and misbehaves on request.

It logs every call that it took, so a test can see whether a message was sent twice. It imports nothing of the system
under test.
"""
