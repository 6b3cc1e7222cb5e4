"""The processes of a whole system on this machine, with a Valkey and a ledger of their own: for demo, up, tests, bench and chaos."""
