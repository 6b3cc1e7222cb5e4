"""The current behaviour, the rest of its script of faults, and the random numbers that faults are drawn with."""

from random import Random

from simulator.behaviour import Behaviour, Fault, ReplyRule, Share, Step
from simulator.rules import Call


class FaultScript:
    """Decides which fault the next call meets.

    The same seed gives the same faults in the order of arrival. Pushes have their own random numbers, so they do not
    disturb that order.
    """

    def __init__(self, initial: Behaviour) -> None:
        self._initial = initial
        self.reset()

    def reset(self) -> None:
        self.behaviour = self._initial
        self._reseed()
        self._load_script()

    def apply(self, patch: Behaviour) -> None:
        self.behaviour = self.behaviour.patched(patch)
        if "seed" in patch.model_fields_set:
            self._reseed()
        if "script" in patch.model_fields_set:
            self._load_script()

    def next_fault(self, call: Call) -> Fault:
        """The first step of the script that meets this call; else a fault drawn by its rate; else the default."""
        for index, (step, left) in enumerate(self._script):
            if _meets(step, call) and self._dice.random() < step.rate:
                if left == 1:
                    del self._script[index]
                elif left:
                    self._script[index] = (step, left - 1)
                return step
        for name, rate in self.behaviour.fault_rate.items():
            if self._dice.random() < rate:
                return Fault(do=name)
        return self.behaviour.default

    def latency_seconds(self) -> float:
        jitter_ms = self.behaviour.jitter_ms
        return (self.behaviour.latency_ms + (self._dice.uniform(0, jitter_ms) if jitter_ms else 0)) / 1000

    def hits(self, share: Share, mobile: str) -> bool:
        if isinstance(share, frozenset):
            return mobile in share
        return share > 0 and self.push_dice.random() < share

    def reply_rule(self, content: str) -> ReplyRule | None:
        return next((rule for rule in self.behaviour.replies if rule.content_contains in content), None)

    def _reseed(self) -> None:
        self._dice = Random(self.behaviour.seed)  # noqa: S311 - faults are to be repeatable, not secret
        self.push_dice = Random(self.behaviour.seed)  # noqa: S311

    def _load_script(self) -> None:
        self._script: list[tuple[Step, int]] = [(step, step.times) for step in self.behaviour.script]


def _meets(step: Step, call: Call) -> bool:
    return (step.mobile is None or step.mobile in call.mobiles) and step.msg_id in {None, call.msg_id}
