"""Why a recipient has the status it has, in a sentence for people."""

from collections.abc import Collection

from worker.domain.gate import Gate
from worker.domain.status import LeftOut, Report, State, Suppression
from worker.ledger.sending.message_queries import RecipientView

LEFT_OUT: dict[str, str] = {
    Suppression.CAP: "it was left out: its mobile had been sent to as often as the caps of the lane allow",
    Suppression.OPTOUT: "it was left out: its mobile wants no marketing; `sms optout list --mobile` says since when",
}
"""The sentence for each reason why a recipient is suppressed."""


def closed(gate: Gate) -> str:
    """Since when a gate is closed, by whom and why."""
    return f"closed since {gate.since:%Y-%m-%d %H:%M:%S} UTC by {gate.by}: {gate.reason}"


def opens(gate: Gate) -> str:
    """What opens a closed gate."""
    resume = f"`sms account resume {gate.account}`"
    if gate.until is None:
        return f"it waits for {resume}"
    return f"it opens by itself once a call goes through, or with {resume}"


def in_the_way(gate: Gate, known: Collection[str] | None) -> str | None:
    """Why nothing of an account is sent now. `known` are the accounts of all workers, None where nobody can say."""
    if known is not None and gate.account not in known:
        return f"no worker has the account {gate.account}; put it back into their settings, or it expires"
    return None if gate.is_open else f"the gate of {gate.account} is {closed(gate)}; {opens(gate)}"


def reason(recipient: RecipientView, in_the_way: str | None = None) -> str | None:
    """The sentence, where there is something to say beyond the status. `in_the_way` is why nothing of its account is sent now."""
    said = _reason(recipient)
    if in_the_way is None or recipient.status not in (State.HELD, State.QUEUED):
        return said
    return "; ".join(filter(None, (said, in_the_way)))


def _reason(recipient: RecipientView) -> str | None:
    said = _said(recipient)
    if recipient.said_by:
        return f"{recipient.said_by} said so"
    last = f"; the last attempt: {said}" if said else ""
    sentences: dict[str, str | None] = {
        State.HELD: f"it waits until {_due(recipient)}{last}",
        State.QUEUED: f"it is about to be tried again{last}" if said else None,
        State.UNKNOWN: f"it cannot be known whether the gateway took it ({said or 'no reply'}); "
        f"it is not sent again{' a second time' if recipient.resent else ''} by itself; "
        "a report settles it, or you do with `sms unknown resolve`",
        State.UNREPORTED: "the gateway took it and has not reported on it; a report that comes late still counts",
        State.REJECTED: f"the gateway refused it for good: {said or 'without a reason'}",
        State.EXPIRED: f"its validity ran out before it could be sent{last}",
        State.CANCELLED: "it was called off before it was sent",
        LeftOut.SUPPRESSED: LEFT_OUT.get(recipient.suppressed or "", f"it was left out: {recipient.suppressed}"),
        Report.UNDELIVERED: "the gateway took it and reported that it was not delivered",
    }
    return sentences.get(recipient.status)


def _due(recipient: RecipientView) -> str:
    return f"{recipient.due_at:%Y-%m-%d %H:%M:%S} UTC" if recipient.due_at else "its time"


def _said(recipient: RecipientView) -> str | None:
    if recipient.result is None:
        return recipient.tips
    return f"result {recipient.result}" + (f" {recipient.tips}" if recipient.tips else "")
