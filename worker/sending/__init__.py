"""The path of a message: taken in, claimed, called, recorded."""
