"""Builds the real parts from the settings, once in each process and when they are first needed."""

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from threading import Event

import requests
from redis import Redis
from sqlalchemy import Engine

from worker.accept import Accepted, Refuse, accept, by_lane, refuse
from worker.broker import open_redis
from worker.config import Settings, load_settings, revealed
from worker.domain.message import Message
from worker.domain.outcome import Outcome, Verdict
from worker.gateway.client import Call, Credentials, Endpoint, open_session, send
from worker.keep_gate import keep_gate
from worker.ledger import accounts as ledger_accounts
from worker.ledger import gates, submissions
from worker.ledger.accounts import MSG_ID_END, MsgIds
from worker.ledger.engine import open_engine
from worker.ledger.group_commit import GroupCommit
from worker.ledger.patience import patient
from worker.ledger.submissions import Claimed, Recorded

log = logging.getLogger(__name__)

NOTABLE_SKEW = timedelta(seconds=5)
"""A Date header has whole seconds, and a reply its time on the way."""

STOPPING = Event()
"""Set when this process is told to end: what is under way is finished, and nothing new begun."""


def utc_now() -> datetime:
    """The clock of the system."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Parts:
    """What the tasks of one process work with."""

    settings: Settings
    engine: Engine
    redis: Redis
    account_ids: Mapping[str, int]
    accounts_of_pushes: Mapping[tuple[str, str], int]
    accept: Callable[[Sequence[Message]], Accepted]
    refuse: Refuse
    claim: Callable[[int], Claimed | None]
    call: Callable[[Claimed], Outcome]
    record: Callable[[Recorded], None]
    keep_gate: Callable[[Claimed, Outcome], None]
    random: Callable[[], float]


@cache
def parts(concurrency: int) -> Parts:
    """The parts of this process, for as many threads as it has."""
    settings = load_settings("worker")
    engine = open_engine(revealed(settings.ledger_url))
    with engine.begin() as connection:
        # A ledger that begins anew does not give out the msgIds of the last one, whose reports may still come.
        now = utc_now()
        start = int(now.timestamp()) % MSG_ID_END
        numbers = ledger_accounts.register(connection, settings.accounts, first_msg_id=start, now=now)
    account_ids = {name: numbers[name] for name in settings.accounts}
    msg_ids = MsgIds(engine)

    def accept_all(groups: Sequence[Sequence[Message]]) -> list[Accepted]:
        messages = [message for group in groups for message in group]
        queued = accept(engine, msg_ids, account_ids, messages, max_mobiles=settings.max_mobiles, now=utc_now())
        # Popped, so that of two threads with the same message one submits it.
        return [by_lane(group, {message.id: queued.pop(message.id, []) for message in group}) for group in groups]

    def claim_all(nos: Sequence[int]) -> list[Claimed | None]:
        with engine.begin() as connection:
            claimed = submissions.claim(connection, nos, now=utc_now(), lease=settings.lease)
        by_no = {one.no: one for one in claimed}
        return [by_no.pop(no, None) for no in nos]

    def record_all(outcomes: Sequence[Recorded]) -> list[None]:
        with engine.begin() as connection:
            written = submissions.record(connection, outcomes, now=utc_now())
        if written < len(outcomes):
            log.warning("%d outcomes came after their submission had moved on", len(outcomes) - written)
        return [None] * len(outcomes)

    return Parts(
        settings=settings,
        engine=engine,
        redis=open_redis(revealed(settings.redis_url), patience_seconds=5),
        account_ids=account_ids,
        accounts_of_pushes={
            (str(account.epr_id), account.user_id): account_ids[name] for name, account in settings.accounts.items()
        },
        accept=GroupCommit(patient(accept_all, STOPPING.wait)),
        refuse=patient(partial(refuse, engine), STOPPING.wait),
        claim=GroupCommit(patient(claim_all, STOPPING.wait)),
        call=open_gateway(settings, account_ids, open_session(concurrency)),
        # Even while the process ends: what came of a call is known here alone, and without it the submission is `unknown`.
        record=GroupCommit(patient(record_all, time.sleep)),
        keep_gate=patient(_gate_keeper(engine), STOPPING.wait),
        random=random.random,
    )


def endpoint(settings: Settings) -> Endpoint:
    """Where the gateway is and how it is called."""
    return Endpoint(
        url=settings.gateway_url,
        method=settings.gateway_method,
        reply_format=settings.gateway_format,
        connect_timeout_seconds=settings.connect_timeout,
        read_timeout_seconds=settings.read_timeout,
    )


def _gate_keeper(engine: Engine) -> Callable[[Claimed, Outcome], None]:
    not_sent: Counter[int] = Counter()
    noted: dict[int, timedelta] = {}

    def keep(claimed: Claimed, outcome: Outcome) -> None:
        if outcome.verdict is Verdict.NOT_SENT:
            not_sent[claimed.account_id] += 1
        else:
            not_sent.pop(claimed.account_id, None)
        in_a_row = not_sent[claimed.account_id]
        keep_gate(engine, claimed, outcome, not_sent_in_a_row=in_a_row, now=utc_now())
        told = noted.get(claimed.account_id, timedelta(0))
        if outcome.skew is not None and abs(outcome.skew - told) > NOTABLE_SKEW:
            noted[claimed.account_id] = outcome.skew
            with engine.begin() as connection:
                gates.note_skew(connection, claimed.account_id, outcome.skew)

    return keep


def open_gateway(
    settings: Settings, account_ids: Mapping[str, int], session: requests.Session
) -> Callable[[Claimed], Outcome]:
    """The function that makes the call of a claimed submission, with what has been learnt of the gateway's clock."""
    where = endpoint(settings)
    credentials = {
        account_ids[name]: Credentials(account.epr_id, account.user_id, account.password)
        for name, account in settings.accounts.items()
    }
    # How far the gateway's clock is ahead of ours, as last seen when it found our timestamp out of date.
    skews: dict[int, timedelta] = {}

    def call(claimed: Claimed) -> Outcome:
        if claimed.account_id not in credentials:
            return Outcome(Verdict.ACCOUNT, tips="this worker's settings have no such account")
        if utc_now() > claimed.until - where.longest:
            # The ledger or this process stood still. A call now could outlast its lease and be taken for lost meanwhile.
            return Outcome(Verdict.BUSY, tips="too little of its lease was left for a call", retry_after=timedelta(0))
        outcome = send(
            session,
            where,
            credentials[claimed.account_id],
            Call(claimed.msg_id, claimed.mobiles, claimed.content),
            clock=utc_now,
            skew=skews.get(claimed.account_id, timedelta(0)),
        )
        if outcome.verdict is Verdict.CLOCK and outcome.skew is not None:
            skews[claimed.account_id] = outcome.skew
        return outcome

    return call
