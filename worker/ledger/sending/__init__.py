"""What the ledger keeps of messages: tables' statements by subject, and the queries that people read."""
