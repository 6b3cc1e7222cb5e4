"""The way of a campaign: drafted, checked, started when it is due, fed into sending, reported on."""
