"""The report of a campaign as a page."""
