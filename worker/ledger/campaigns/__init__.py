"""What the ledger keeps of campaigns and audiences."""
