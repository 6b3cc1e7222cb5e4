"""The SMS worker system: see docs/architecture.md for the way a message takes through these modules."""
