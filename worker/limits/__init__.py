"""How fast an account may call and how often a mobile is sent to: limits that hold across all workers, kept in Redis.

How long to wait for one is the caller's."""
