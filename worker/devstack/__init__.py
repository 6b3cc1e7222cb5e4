"""The processes of a whole system on one machine: for `sms demo`, `sms up`, tests, benchmarks and chaos."""
