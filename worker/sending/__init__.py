"""The way of a message: taken in, claimed, called, recorded."""
