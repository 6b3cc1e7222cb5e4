"""The building blocks of a process: threads, retries, batches, logs. It knows no store and no verb."""
