"""Attacks by an app that may send: with another's signature, as a campaign, or without end."""

from redis import Redis
from sqlalchemy import func, select

from attack.system import column, new_mobile, scalar, send
from attack.table import Result, counted
from worker.client import Refused
from worker.devstack.stack import Stack
from worker.domain.lane import LANES, UPKEEP_QUEUE
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


def signatures(stack: Stack) -> Result:
    texts = [*SIGNED, *(f"您{control}好" for control in CONTROLS)]
    return counted(sum(_is_refused(stack, content=text) for text in texts), len(texts), "texts refused")


def callers(stack: Stack) -> Result:
    held = sum(_is_refused(stack, caller=name) for name in NAMES)
    return counted(held, len(NAMES), "names of campaigns refused")


def _is_refused(stack: Stack, *, content: str = "您好", caller: str = "shop") -> bool:
    try:
        send(stack, new_mobile(), content, caller=caller)
    except (Refused, ValueError):
        return True
    return False


def bombing(stack: Stack) -> Result:
    """Sends codes to one mobile as fast as possible, from two apps."""
    mobile = new_mobile()
    for n in range(CODES):
        send(stack, mobile, f"您的验证码是 {n:06}", lane="otp", caller=f"app-{n % 2}")
    query = select(recipients.c.suppressed).where(recipients.c.mobile == mobile)
    stack.wait_for("all are accepted", lambda: len(column(stack, query)) == CODES)
    sent = sum(suppressed is None for suppressed in column(stack, query))
    most = min(cap.times for cap in LANES["otp"].caps)
    return Result(sent <= most, f"{sent} of {CODES} codes to one mobile were sent")


def texts_of_codes(stack: Stack) -> Result:
    """Looks for texts of codes in the ledger, after the maintenance that runs every minute."""
    send(stack, new_mobile(), "您的验证码是 123456", lane="otp")
    sent = select(messages.c.id).where(messages.c.lane == "otp")
    stack.wait_for("a code is accepted", lambda: column(stack, sent))
    due = select(submissions.c.id).where(submissions.c.lane == "otp", submissions.c.due_at.is_not(None))
    stack.wait_for("all codes went out", lambda: not column(stack, due))
    with Redis.from_url(stack.redis_url) as redis:
        bells.send(redis, "sms.settle", queue=UPKEEP_QUEUE)
    left = select(func.count()).where(messages.c.lane == "otp", messages.c.content != "")
    stack.wait_for("they are wiped", lambda: scalar(stack, left) == 0, seconds=120)
    return Result(True, f"{len(column(stack, sent))} codes were sent, the texts of 0 are kept")
