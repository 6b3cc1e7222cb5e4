"""What a process is made of: threads, retries, batches, logs. It knows no store and no verb."""
