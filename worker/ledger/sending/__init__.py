"""The ledger of messages: statements by subject, and the queries for people."""
