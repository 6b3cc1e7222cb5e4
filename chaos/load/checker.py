"""The checker: each figure with its bound, computed from plain values without any code of the system under test."""

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
"""How long the gateway may go unused once it is well again. A gate that closed by itself is probed as
`domain.gate.PROBE_AFTER` says (unknown 3 s, busy 5 s, not sent 15 s), and then opens."""
BELLS = 20
"""A few, however many messages are sent."""
CLOSED_SECONDS = 1.0
"""How long the gate may be closed while the gateway is well: as long as a look at it may be wrong."""
PROBES = 2
"""Calls with which a closed gate is probed in a spell. Each of them may be lost."""
NEVER = math.inf


@dataclass(frozen=True, slots=True)
class Bounds:
    """What bounds the number of unknown calls."""

    in_flight: int
    """Calls that the workers can make at the same time."""
    in_a_row: int
    """That many unknown outcomes in a row close the gate."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure and its bound: at most `most`, or at least `least`. A figure with neither is only shown."""

    name: str
    value: float
    most: float | None = None
    least: float | None = None
    unit: str = ""

    @property
    def holds(self) -> bool:
        return (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)


def figures(evidence: Evidence, bounds: Bounds, *, beyond: int) -> list[Figure]:
    """All the figures. `beyond` is how many must have waited at some time; with fewer this was not a flood."""
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
        Figure("gate closed, the gateway well", _closed_seconds(evidence), most=CLOSED_SECONDS, unit="s"),
        Figure("lost", lost, most=0),
        Figure("twice", sum(times > 1 for times in taken.values()), most=0),
        Figure("burnt: unknown, never taken", burnt(evidence), most=burnt_at_most(evidence.spells, bounds)),
        Figure("good ones refused", len(good & set(rows.refused)), most=0),
        Figure("expired or rejected", sum(rows.states.get(state, 0) for state in ("expired", "rejected")), most=0),
        Figure("poison unaccounted for", len(unaccounted(evidence)), most=0),
        Figure("reports lost", _reports_lost(evidence), most=0),
        Figure("processes that ended by themselves", len(evidence.ended), most=0),
        Figure("still waiting", NEVER if evidence.waiting is None else sum(evidence.waiting.values()), most=0),
        Figure("waited at most, the gateway well", _waited(evidence), least=beyond),
    ]


def otp_seconds(evidence: Evidence) -> list[float]:
    """Seconds from `send` to the gateway's log of each OTP that counts, in ascending order.

    NEVER for an OTP that did not arrive.
    """
    arrived: dict[str, float] = {}
    for call in evidence.calls:
        for mobile in call["mobiles"]:
            arrived.setdefault(mobile, call["arrived_at"])
    counts = (item for item in evidence.otps.items() if is_well(item[1], evidence.spells, ahead=OTP_SECONDS))
    return sorted(arrived.get(mobile, NEVER) - at for mobile, at in counts)


def is_well(at: float, spells: Iterable[Spell], *, ahead: float = 0) -> bool:
    """Whether the gateway had recovered by that time, and was well for `ahead` more seconds."""
    return all(at + ahead < spell.began or at >= spell.ended + RECOVERY_SECONDS for spell in spells)


def burnt(evidence: Evidence) -> int:
    """Recipients that are lost to `unknown`. A call that was taken does not count, because its reports say so."""
    called = {call["msg_id"] for call in evidence.calls}
    return sum(mobiles for msg_id, mobiles in evidence.rows.unknown.items() if msg_id not in called)


def burnt_at_most(spells: Iterable[Spell], bounds: Bounds) -> int:
    """A spell costs the calls under way when it begins, the calls that close the gate, and the probes.

    A 429 costs nothing.
    """
    return sum(bounds.in_flight + bounds.in_a_row + PROBES for spell in spells if set(spell.statuses) - {429})


def unaccounted(evidence: Evidence) -> list[str]:
    """The poison that the ledger has neither refused nor as a message: it vanished, or stays in Redis for ever."""
    kept = set(evidence.rows.messages) | set(evidence.rows.refused)
    return sorted(what for poison_id, what in evidence.poison.items() if poison_id not in kept)


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The percentile by nearest rank. NEVER if there are no values."""
    return ordered[max(0, math.ceil(percent * len(ordered) / 100) - 1)] if ordered else NEVER


def _reports_lost(evidence: Evidence) -> int:
    """Missing reports.

    Each mobile that was taken must have one, and each acknowledged extra report must be there or in a push.
    """
    pushed = {(call["msg_id"], mobile) for call in evidence.calls for mobile in call["mobiles"]}
    rows = evidence.rows
    missing = max(0, len(pushed) - rows.reports) + max(0, evidence.pushed - rows.foreign_reports)
    return max(0, missing - rows.unread_reports)


def _back_after(evidence: Evidence) -> float:
    """The longest time in seconds from the end of a spell until the gateway took a call."""
    arrived = sorted(call["arrived_at"] for call in evidence.calls)
    waits = [next((at for at in arrived if at >= spell.ended), NEVER) - spell.ended for spell in evidence.spells]
    return max(waits, default=0.0)


def _closed_seconds(evidence: Evidence) -> float:
    looks = evidence.looks
    return sum(
        look.at - before.at
        for before, look in pairwise(looks)
        if before.gate_closed and look.gate_closed and is_well(look.at, evidence.spells)
    )


def _waited(evidence: Evidence) -> int:
    return max((look.waiting for look in evidence.looks if is_well(look.at, evidence.spells)), default=0)
