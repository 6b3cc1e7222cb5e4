"""Values and rules of campaigns."""
