"""What runs every second so that nothing waits in vain, and what `sms doctor` checks."""
