"""The vendor's API: how a call is signed and made, and what its response means. The domain decides what follows."""
