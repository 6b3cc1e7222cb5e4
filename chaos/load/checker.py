"""The judgement: each figure, and the bound that it is to keep. Plain values in, plain values out; no code of the system."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from chaos.load.evidence import Evidence
from chaos.load.trouble import Spell

OTP_SECONDS = 1.0
PUSH_SECONDS = 5.0
TICK_SECONDS = 5.0
RECOVERY_SECONDS = 20.0
"""So long after it is well again the gateway may go unused: a gate that closed by itself is probed as
`domain.gate.PROBE_AFTER` says (unknown 3 s, busy 5 s, not sent 15 s), and then it opens."""
BELLS = 20
"""A few, however many send."""
SHUT_SECONDS = 1.0
"""How long the gate may be shut while the gateway is well: no longer than a look at it may be wrong."""
PROBES = 2
"""Calls that a closed gate makes in a spell to see whether it can be opened: each is one more that may be lost."""
NEVER = math.inf


@dataclass(frozen=True, slots=True)
class Bounds:
    """What `unknown` is held against."""

    in_flight: int
    """Calls that the workers can have under way at once."""
    in_a_row: int
    """So many unknown in a row close the gate."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure and its bound: no more than `most`, or no less than `least`; with neither it is only told."""

    name: str
    value: float
    most: float | None = None
    least: float | None = None
    unit: str = ""

    @property
    def holds(self) -> bool:
        return (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)


def figures(evidence: Evidence, bounds: Bounds, *, beyond: int) -> list[Figure]:
    """All of them. `beyond` is how many must have waited at some time, or this was no flood."""
    rows, looks = evidence.rows, evidence.looks
    otps = otp_seconds(evidence)
    taken = Counter(mobile for call in evidence.calls for mobile in call["mobiles"])
    called = {call["msg_id"] for call in evidence.calls}
    kept = set(rows.messages) | set(rows.refused)
    good = evidence.accepted.keys() - evidence.poison.keys()
    missing = good - kept - set(rows.in_intake)
    lost = len(missing) + len(set(rows.said_taken) - called) + max(0, evidence.members - rows.members)
    return [
        Figure("OTP p50", percentile(otps, 50), unit="s"),
        Figure("OTP p99", percentile(otps, 99), most=OTP_SECONDS, unit="s"),
        Figure("OTP max", percentile(otps, 100), unit="s"),
        Figure("taken again after a bad gateway", _back_after(evidence), most=RECOVERY_SECONDS, unit="s"),
        Figure("oldest push", max((look.push for look in looks), default=NEVER), most=PUSH_SECONDS, unit="s"),
        Figure("oldest tick", max((look.tick for look in looks), default=NEVER), most=TICK_SECONDS, unit="s"),
        Figure("tasks in a lane's queue", max((look.bells for look in looks), default=NEVER), most=BELLS),
        Figure("gate shut, the gateway well", _shut_seconds(evidence), most=SHUT_SECONDS, unit="s"),
        Figure("lost", lost, most=0),
        Figure("twice", sum(times > 1 for times in taken.values()), most=0),
        Figure("burnt: unknown, never taken", burnt(evidence), most=burnt_at_most(evidence.spells, bounds)),
        Figure("good ones refused", len(good & set(rows.refused)), most=0),
        Figure("expired or rejected", sum(rows.states.get(one, 0) for one in ("expired", "rejected")), most=0),
        Figure("poison unaccounted for", len(unaccounted(evidence)), most=0),
        Figure("reports lost", _reports_lost(evidence), most=0),
        Figure("processes that ended by themselves", len(evidence.ended), most=0),
        Figure("still waiting", NEVER if evidence.waiting is None else sum(evidence.waiting.values()), most=0),
        Figure("waited at most, the gateway well", _waited(evidence), least=beyond),
    ]


def otp_seconds(evidence: Evidence) -> list[float]:
    """From `send` to the gateway's log, of each OTP that counts, in order; infinite where it never came there."""
    arrived: dict[str, float] = {}
    for call in evidence.calls:
        for mobile in call["mobiles"]:
            arrived.setdefault(mobile, call["arrived_at"])
    counts = (item for item in evidence.otps.items() if is_well(item[1], evidence.spells, ahead=OTP_SECONDS))
    return sorted(arrived.get(mobile, NEVER) - at for mobile, at in counts)


def is_well(at: float, spells: Iterable[Spell], *, ahead: float = 0) -> bool:
    """Whether the gateway was well at that time and for so many seconds on, and has been well long enough to have recovered."""
    return all(at + ahead < spell.began or at >= spell.ended + RECOVERY_SECONDS for spell in spells)


def burnt(evidence: Evidence) -> int:
    """Recipients that are lost to `unknown`. A call that was taken is none: its reports say so."""
    called = {call["msg_id"] for call in evidence.calls}
    return sum(mobiles for msg_id, mobiles in evidence.rows.unknown.items() if msg_id not in called)


def burnt_at_most(spells: Iterable[Spell], bounds: Bounds) -> int:
    """Each spell costs what is under way as it begins, what closes the gate, and its probes; 429 costs nothing."""
    return sum(bounds.in_flight + bounds.in_a_row + PROBES for spell in spells if set(spell.statuses) - {429})


def unaccounted(evidence: Evidence) -> list[str]:
    """The poison that is neither refused, with its reason, nor a message: it vanished or lies in Redis for ever."""
    kept = set(evidence.rows.messages) | set(evidence.rows.refused)
    return sorted(what for poison_id, what in evidence.poison.items() if poison_id not in kept)


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The nearest rank; infinite where there is nothing."""
    return ordered[max(0, math.ceil(percent * len(ordered) / 100) - 1)] if ordered else NEVER


def _reports_lost(evidence: Evidence) -> int:
    """Of what was taken each recipient has one; of the extra pushes all that were acknowledged. Or they wait in a push."""
    made = {(call["msg_id"], mobile) for call in evidence.calls for mobile in call["mobiles"]}
    rows = evidence.rows
    missing = max(0, len(made) - rows.reports) + max(0, evidence.pushed - rows.foreign_reports)
    return max(0, missing - rows.unread_reports)


def _back_after(evidence: Evidence) -> float:
    """The longest that it took, from when the gateway was well again, until it took a call."""
    arrived = sorted(call["arrived_at"] for call in evidence.calls)
    waits = [next((at for at in arrived if at >= spell.ended), NEVER) - spell.ended for spell in evidence.spells]
    return max(waits, default=0.0)


def _shut_seconds(evidence: Evidence) -> float:
    looks = evidence.looks
    return sum(
        look.at - before.at
        for before, look in pairwise(looks)
        if before.gate_shut and look.gate_shut and is_well(look.at, evidence.spells)
    )


def _waited(evidence: Evidence) -> int:
    return max((look.waiting for look in evidence.looks if is_well(look.at, evidence.spells)), default=0)
