"""The vendor's API: how a call is signed and made, and what its reply means. What follows from that is the domain's."""
