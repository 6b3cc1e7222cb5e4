"""What a push carries: status reports or replies, item by item."""

from dataclasses import dataclass

from worker.domain.status import Report


@dataclass(frozen=True, slots=True, order=True)
class StatusReport:
    """What became of one recipient (`pushStatusForm`)."""

    mobile: str
    msg_id: int
    report: Report


@dataclass(frozen=True, slots=True, order=True)
class Reply:
    """What a customer wrote back (`pushSmsForm`). Its msgId is kept as it came: it may be another program's."""

    mobile: str
    msg_id: str
    content: str


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a push, with the account that it is for."""

    epr_id: str
    user_id: str
    body: StatusReport | Reply


@dataclass(frozen=True, slots=True)
class Push:
    """A push that could be read. `faults` has a sentence for each item that could not, `note` what else was odd about it."""

    items: tuple[Item, ...]
    faults: tuple[str, ...] = ()
    note: str | None = None
