"""Why a recipient has the status that it has, in a sentence for people."""

from collections.abc import Collection
from datetime import datetime

from worker.domain.gate import Gate
from worker.domain.message import Message
from worker.domain.status import LeftOut, Report, State, Suppression
from worker.ledger.sending.message_queries import RecipientView

LEFT_OUT: dict[str, str] = {
    Suppression.CAP: "it was left out: its mobile had been sent to as often as the caps of the lane allow",
    Suppression.OPTOUT: "it was left out: its mobile wants no marketing; `sms optout list --mobile` says since when",
}
"""The sentence about one recipient, for each reason why it is suppressed."""

NO_TEXT = "no text"
MEMBERS_LEFT_OUT: dict[str, str] = {
    Suppression.OPTOUT: "They want no marketing: they opted out before it was their turn.",
    Suppression.CAP: "They had been sent to as often as the caps of the lane allow.",
    NO_TEXT: "Their row makes no text that can be sent; “sms campaign check” names the rows.",
    State.EXPIRED: "The time to send to them was over before it was their turn.",
    State.CANCELLED: "The campaign was called off before it was their turn.",
}
"""The sentence about the members of a campaign, for each reason why they were left out."""


def closed_since(gate: Gate) -> str:
    """Since when a gate is closed, by whom and why."""
    return f"closed since {_utc(gate.since)} by {gate.by}: {gate.reason}"


def how_it_opens(gate: Gate) -> str:
    """What opens a closed gate."""
    resume = f"`sms account resume {gate.account}`"
    if gate.until is None:
        return f"it waits for {resume}"
    return f"it opens by itself once a call goes through, or with {resume}"


def find_obstacle(gate: Gate, known: Collection[str] | None) -> str | None:
    """Why nothing of an account is sent now. `known` are the accounts of all workers; None where nobody can say."""
    if known is not None and gate.account not in known:
        return (
            f"no worker has the account {gate.account}; put it back into the workers' settings, or the message expires"
        )
    return None if gate.is_open else f"the gate of {gate.account} is {closed_since(gate)}; {how_it_opens(gate)}"


def parked_reason(message: Message, parked_until: datetime | None) -> str:
    """Why a message is still in the intake. `parked_until` is there while no worker has its account."""
    since = f"it has been in the intake since {_utc(message.created_at)}; "
    if parked_until is None:
        return since + "no worker has taken it yet"
    return (
        since + f"it waits for a worker that has the account {message.account}, and is refused at {_utc(parked_until)}"
    )


def reason(recipient: RecipientView, obstacle: str | None = None) -> str | None:
    """The sentence, where there is something to say beyond the status.

    `obstacle` is why nothing of its account is sent now.
    """
    sentence = _reason(recipient)
    if obstacle is None or recipient.status not in (State.HELD, State.QUEUED):
        return sentence
    return "; ".join(filter(None, (sentence, obstacle)))


def _reason(recipient: RecipientView) -> str | None:
    if recipient.set_by:
        return f"{recipient.set_by} said so"
    answer = _answer(recipient)
    last = f"; the last attempt: {answer}" if answer else ""
    again = " a second time" if recipient.resent else ""
    sentences: dict[str, str | None] = {
        State.HELD: f"it waits until {_utc(recipient.due_at) if recipient.due_at else 'its time'}{last}",
        State.QUEUED: f"it is about to be tried again{last}" if answer else None,
        State.UNKNOWN: f"nobody knows whether the gateway took it ({answer or 'no response'}); "
        f"it is not sent again{again} by itself; a report settles it, or you do with `sms unknown resolve`",
        State.UNREPORTED: "the gateway took it and has not reported on it; a late report still counts",
        State.REJECTED: f"the gateway refused it for good: {answer or 'without a reason'}",
        State.EXPIRED: f"its validity ran out before it could be sent{last}",
        State.CANCELLED: "it was cancelled before it was sent",
        LeftOut.SUPPRESSED: LEFT_OUT.get(recipient.suppressed or "", f"it was left out: {recipient.suppressed}"),
        Report.UNDELIVERED: "the gateway took it and reported that it was not delivered",
    }
    return sentences.get(recipient.status)


def _answer(recipient: RecipientView) -> str | None:
    """What the gateway said of its call."""
    if recipient.result is None:
        return recipient.tips
    return f"result {recipient.result}" + (f" {recipient.tips}" if recipient.tips else "")


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
