"""The tally of a preflight: what is counted and picked out while the audience is gone through, in little memory."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from worker.domain.campaigns.audience import Member
from worker.domain.campaigns.preflight import RiskCount, Sample, Unrenderable
from worker.domain.text import Risk, segments, units, warnings

EXAMPLES = 3
REASONS = 20
"""This many reasons are counted apart. A few say it all, and a file must not fill the memory with them."""
OTHER = "for another reason"
RANDOM = 3
"""Samples that are picked at random."""

Rendered = tuple[Member, str]
"""A member and the text for them."""


@dataclass(slots=True)
class Tally:
    """What has been counted so far.

    `lengths` counts texts by their number of segments, `most_units` is of the longest text.
    """

    members: int = 0
    unrenderable: Counter[str] = field(default_factory=Counter)
    examples: list[Unrenderable] = field(default_factory=list)
    opted_out: int = 0
    capped: int = 0
    recipients: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    calls: int = 0
    first: Sample | None = None
    longest: Sample | None = None
    most_units: int = 0
    random: list[Sample] = field(default_factory=list)
    warned: Counter[Risk] = field(default_factory=Counter)
    warnings: dict[Risk, tuple[str, int]] = field(default_factory=dict)
    """The first warning of each kind, and its line."""

    @property
    def segments(self) -> int:
        """Segments of all texts."""
        return sum(length * texts for length, texts in self.lengths.items())


def add_unrenderable(tally: Tally, member: Unrenderable) -> None:
    """Counts a member without a text, and keeps it if it is one of the first for its reason."""
    is_told_apart = member.reason in tally.unrenderable or len(tally.unrenderable) < REASONS
    reason = member.reason if is_told_apart else OTHER
    tally.unrenderable[reason] += 1
    if tally.unrenderable[reason] <= EXAMPLES:
        tally.examples.append(member)


def add_recipients(tally: Tally, rendered: Sequence[Rendered], random: Callable[[], float]) -> None:
    """Counts recipients. Each of them, those before included, has the same chance to be among the random samples."""
    for member, text in rendered:
        tally.recipients += 1
        place = int(random() * tally.recipients)
        if len(tally.random) < RANDOM:
            tally.random.append(_sample("random", member, text))
        elif place < RANDOM:
            tally.random[place] = _sample("random", member, text)


def add_texts(
    tally: Tally, rendered: Sequence[Rendered], *, signature: str, mobiles_of_call: int, marketing: bool
) -> None:
    """Counts segments, calls and warnings. It looks at each text once, however many recipients get it."""
    members_of: defaultdict[str, list[Member]] = defaultdict(list)
    for member, text in rendered:
        members_of[text].append(member)
    for text, members in members_of.items():
        tally.lengths[segments(text, signature)] += len(members)
        tally.calls += -(-len(members) // mobiles_of_call)
        tally.first = tally.first or _sample("first", members[0], text)
        if (length := units(text)) > tally.most_units:
            tally.most_units, tally.longest = length, _sample("longest", members[0], text)
        for risk, warning in warnings(text, marketing=marketing):
            tally.warned[risk] += len(members)
            tally.warnings.setdefault(risk, (warning, members[0].line))


def samples(tally: Tally) -> list[Sample]:
    """Returns a few texts, none twice."""
    by_text: dict[str, Sample] = {}
    for sample in (tally.first, tally.longest, *tally.random):
        if sample:
            by_text.setdefault(sample.text, sample)
    return list(by_text.values())


def risk_counts(tally: Tally) -> list[RiskCount]:
    """Returns what texts are warned of, in the order in which it was met."""
    return [RiskCount(risk, warning, line, tally.warned[risk]) for risk, (warning, line) in tally.warnings.items()]


def _sample(why: str, member: Member, text: str) -> Sample:
    return Sample(why, member.line, member.mobile, text)
