"""All of our use of Redis: the data in it, the permissions of each process (`redis.acl`), and Celery's connection."""
