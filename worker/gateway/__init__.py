"""The vendor's API: how a call is signed and made, and what its reply means. The domain decides what follows."""
