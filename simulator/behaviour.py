"""How the gateway is asked to misbehave: the values of `POST /sim/behave`, with their validation.

Nothing here acts on them.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from simulator.codes import TAKEN, tips_for

FaultName = Literal[
    "ok",
    "result",
    "http",
    "hang_before",
    "hang_after",
    "reset_before",
    "reset_after",
    "close_early",
    "garbage",
    "gbk",
    "empty",
    "html",
    "wrong_content_type",
]
_NEVER_TAKES = {"hang_before", "reset_before"}
_ALWAYS_TAKES = {"hang_after", "reset_after"}

Rate = Annotated[float, Field(ge=0, le=1)]
# The items that a push fault meets: this share of them, or these mobiles.
Share = Rate | frozenset[str]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Fault(_Value):
    """What happens to one call that keeps every rule.

    `take` says whether the call is taken (logged and reported) in spite of the fault. By default it is taken, unless
    the fault is hang_before, reset_before or http, or the result is not 1.
    """

    do: FaultName = "ok"
    result: str | int = TAKEN  # a number is sent as a number
    tips: str | None = None  # an explicit null leaves them out
    status: int | None = Field(default=None, ge=200, le=599)
    retry_after: str | int | None = None
    seconds: float = Field(default=30, ge=0)
    content_type: str | None = None
    take: bool | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.do == "result" and "result" not in self.model_fields_set:
            raise ValueError("do=result needs the result")
        if (self.do in _NEVER_TAKES and self.take) or (self.do in _ALWAYS_TAKES and self.take is False):
            raise ValueError(f"do={self.do} says by its name whether the call is taken; leave take out")
        return self

    @property
    def takes(self) -> bool:
        if self.take is not None:
            return self.take
        return self.do not in _NEVER_TAKES | {"http"} and str(self.result) == TAKEN

    def tips_sent(self, *, xml: bool) -> str | None:
        return self.tips if "tips" in self.model_fields_set else tips_for(str(self.result), xml=xml)

    @property
    def label(self) -> str:
        """How the call log names the answer."""
        if self.do in {"ok", "result"}:
            return str(self.result)
        return f"http {self.status or 500}" if self.do == "http" else self.do


class Step(Fault):
    """A fault for the next `times` calls (0: for ever) with this mobile and msgId, each with the probability `rate`."""

    times: int = Field(default=1, ge=0)
    rate: Rate = 1
    mobile: str | None = None
    msg_id: int | None = None


class ReplyRule(_Value):
    """A mobile that gets a text with `content_contains` in it sends `reply`, once the text's report was pushed."""

    content_contains: str
    reply: str
    mobiles: Literal["each", "first"] = "each"


class PushFaults(_Value):
    """What goes wrong with pushes.

    `split` puts one item in a push, `merge` puts all that is due in one. `before_answer` pushes a call's reports before
    the call is answered. `ignore_success` repeats each push that many times after SUCCESS was read. `cut_short` is the
    share of tries that send half of what their Content-Length promises.
    """

    doubled: bool = False
    reordered: bool = False
    split: bool = False
    merge: bool = False
    before_answer: bool = False
    lie_count: bool = False
    ignore_success: int = Field(default=0, ge=0)
    undelivered: Share = 0.0
    no_report: Share = 0.0
    cut_short: Rate = 0


class Behaviour(_Value):
    latency_ms: float = Field(default=0, ge=0)
    jitter_ms: float = Field(default=0, ge=0)
    script: tuple[Step, ...] = ()
    fault_rate: dict[FaultName, Rate] = {}
    default: Fault = Fault()
    seed: int = 0
    date_skew_seconds: float = 0
    replies: tuple[ReplyRule, ...] = ()
    pushes: PushFaults = PushFaults()
    push_url: str | None = None

    @model_validator(mode="after")
    def _rates_name_whole_faults(self) -> Self:
        for name in self.fault_rate:
            Fault(do=name)
        return self

    def patched(self, patch: "Behaviour") -> "Behaviour":
        """This behaviour with the fields that the patch sets. The other fields stay as they are."""
        return self.model_copy(update={name: getattr(patch, name) for name in patch.model_fields_set})
