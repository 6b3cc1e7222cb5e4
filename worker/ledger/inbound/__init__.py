"""What the ledger keeps of pushes."""
