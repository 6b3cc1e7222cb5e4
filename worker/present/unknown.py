"""Calls that the gateway may or may not have taken, as JSON."""

from dataclasses import asdict
from typing import Any

from worker.ledger.sending.unknown import UnknownView


def unknown_call_json(call: UnknownView, why: str | None) -> dict[str, Any]:
    """A call that is unknown. `why` says why it was probably not taken; None where it may have been."""
    fields = asdict(call)
    del fields["id"]
    return fields | {"probably_not_taken": why}
