"""The one place with Redis: what lies there, who may do what (`redis.acl`), and Celery's own link to it."""
