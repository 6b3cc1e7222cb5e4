"""`python -m worker.cli` is `sms`."""

from worker.cli import main

main()
