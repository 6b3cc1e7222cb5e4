"""The way of a push: kept, read, applied, revoked."""
