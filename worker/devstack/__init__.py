"""The processes of a whole system on this machine: for `sms demo`, `sms up`, tests, benchmarks and chaos."""
