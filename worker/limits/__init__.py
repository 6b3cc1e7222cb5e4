"""How fast an account may call: limits that hold across all workers, kept in Redis. How long to wait for one is the caller's."""
