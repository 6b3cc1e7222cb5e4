"""Somebody sends who may send: under another's name, as another, or very often."""

from itertools import count
from typing import Any

from redis import Redis
from sqlalchemy import Select, func, select

from attack.table import Seen, counted
from worker.client import Refused, SmsClient
from worker.devstack.stack import Stack
from worker.domain.lane import LANES, UPKEEP_QUEUE
from worker.ledger.engine import open_engine, reading
from worker.ledger.tables import messages, recipients, submissions
from worker.redis_store import bells

HIDDEN = ("", " ", "\u200b", "\u3164", "\uffa0", "\u2066", "\ufeff")
SIGNED = (
    *(f"{before}{text}" for before in (*HIDDEN, "(", "_") for text in ("【招商银行】您好", "︻招商银行︼您好")),
    *(f"您好【招商银行】{after}" for after in HIDDEN),
    "【招商\u200b银行】您好",
)
CONTROLS = ("\u202e", "\u200b", "\u2069", "\u3164", "\u00ad", "\x85")
NAMES = ("campaign/7", "campaign:march", "Campaign/7", "ｃampaign/7")
CODES = 30
_mobiles = count(13900500000)


def signatures(stack: Stack) -> Seen:
    texts = [*SIGNED, *(f"您{control}好" for control in CONTROLS)]
    return counted(sum(_is_refused(stack, content=text) for text in texts), len(texts), "texts refused")


def callers(stack: Stack) -> Seen:
    held = sum(_is_refused(stack, caller=name) for name in NAMES)
    return counted(held, len(NAMES), "names of campaigns refused")


def _is_refused(stack: Stack, *, content: str = "您好", caller: str = "shop") -> bool:
    try:
        SmsClient(stack.redis_url_of("producer"), caller=caller).send(str(next(_mobiles)), content, lane="notice")
    except (Refused, ValueError):
        return True
    return False


def bombing(stack: Stack) -> Seen:
    """Codes for one mobile, as fast as they can be asked for, by two apps."""
    mobile = str(next(_mobiles))
    for n in range(CODES):
        client = SmsClient(stack.redis_url_of("producer"), caller=f"app-{n % 2}")
        client.send(mobile, f"您的验证码是 {n:06}", lane="otp")
    query = select(recipients.c.suppressed).where(recipients.c.mobile == mobile)
    stack.wait_for("all are accepted", lambda: len(_rows(stack, query)) == CODES)
    sent = sum(suppressed is None for suppressed in _rows(stack, query))
    most = min(cap.times for cap in LANES["otp"].caps)
    return Seen(sent <= most, f"{sent} of {CODES} codes to one mobile were sent")


def texts_of_codes(stack: Stack) -> Seen:
    """What is left of codes in the ledger, once the minute's upkeep has run."""
    SmsClient(stack.redis_url_of("producer"), caller="shop").send(
        str(next(_mobiles)), "您的验证码是 123456", lane="otp"
    )
    sent = select(messages.c.id).where(messages.c.lane == "otp")
    stack.wait_for("a code is accepted", lambda: _rows(stack, sent))
    due = select(submissions.c.id).where(submissions.c.lane == "otp", submissions.c.due_at.is_not(None))
    stack.wait_for("all codes went out", lambda: not _rows(stack, due))
    with Redis.from_url(stack.redis_url) as redis:
        bells.send(redis, "sms.settle", queue=UPKEEP_QUEUE)
    left = select(func.count()).where(messages.c.lane == "otp", messages.c.content != "")
    stack.wait_for("they are wiped", lambda: _rows(stack, left) == [0], seconds=120)
    return Seen(True, f"{len(_rows(stack, sent))} codes were sent, the texts of 0 are kept")


def _rows(stack: Stack, query: Select[Any]) -> list[Any]:
    engine = open_engine(stack.ledger_url)
    with reading(engine) as connection:
        found = list(connection.execute(query).scalars())
    engine.dispose()
    return found
