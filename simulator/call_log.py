"""The gateway's log: every call that it took, and the last of the calls that it refused."""

from array import array
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from simulator.rules import Account, Call

REFUSED_KEPT = 1000
IN_FLIGHT = "in flight"


@dataclass(frozen=True, slots=True)
class TakenCall:
    """A call that was taken.

    `arrived_at` is in Unix seconds, `monotonic` is time.monotonic(), both from when the request had been read. `seq`
    counts from 1.
    """

    seq: int
    account: Account
    msg_id: int
    mobiles: tuple[str, ...]
    content: str
    arrived_at: float
    monotonic: float
    answer: str


@dataclass(frozen=True, slots=True)
class RefusedCall:
    arrived_at: float
    epr_id: str | None
    msg_id: str | None
    mobile: str | None
    content: str | None
    answer: str


class CallLog:
    """The calls as columns. A call takes about 350 bytes, so a million calls fit into a few hundred MB."""

    def __init__(self) -> None:
        self._accounts: list[Account] = []
        self._msg_ids = array("i")
        self._mobiles: list[str] = []
        self._contents: list[str] = []
        self._arrived = array("d")
        self._monotonic = array("d")
        self._answers: list[str] = []
        self._last_seq_of: dict[str, int] = {}
        self.mobiles_taken = 0
        self.repeated: dict[str, int] = {}
        self.max_mobiles_per_call = 0
        self.answers: Counter[str] = Counter()
        self.refused: deque[RefusedCall] = deque(maxlen=REFUSED_KEPT)
        self.calls_refused = 0

    def __len__(self) -> int:
        return len(self._msg_ids)

    def take(self, call: Call, arrived_at: float, monotonic: float) -> int:
        """Keeps a call that was taken and returns its seq. Its answer follows with `note_answer`."""
        self._accounts.append(call.account)
        self._msg_ids.append(call.msg_id)
        self._mobiles.append(",".join(call.mobiles))
        # A campaign sends one text a million times: it is kept once.
        repeats_last = self._contents and self._contents[-1] == call.content
        self._contents.append(self._contents[-1] if repeats_last else call.content)
        self._arrived.append(arrived_at)
        self._monotonic.append(monotonic)
        self._answers.append(IN_FLIGHT)
        seq = len(self)
        for mobile in call.mobiles:
            if mobile in self._last_seq_of:
                self.repeated[mobile] = self.repeated.get(mobile, 1) + 1
            self._last_seq_of[mobile] = seq
        self.mobiles_taken += len(call.mobiles)
        self.max_mobiles_per_call = max(self.max_mobiles_per_call, len(call.mobiles))
        return seq

    def note_answer(self, seq: int, answer: str) -> None:
        self._answers[seq - 1] = answer
        self.answers[answer] += 1

    def refuse(self, params: Mapping[str, str], arrived_at: float, answer: str) -> None:
        """Counts a call that was not taken, and keeps it for a while without its key."""
        get = params.get
        call = RefusedCall(arrived_at, get("eprId"), get("msgId"), get("mobile"), get("content"), answer)
        self.refused.append(call)
        self.calls_refused += 1
        self.answers[answer] += 1

    def since(self, seq: int, limit: int) -> Iterator[TakenCall]:
        return (self.call(number) for number in range(max(seq, 0) + 1, min(max(seq, 0) + limit, len(self)) + 1))

    def call(self, seq: int) -> TakenCall:
        row = seq - 1
        return TakenCall(
            seq,
            self._accounts[row],
            self._msg_ids[row],
            tuple(self._mobiles[row].split(",")),
            self._contents[row],
            self._arrived[row],
            self._monotonic[row],
            self._answers[row],
        )

    def last_of(self, mobile: str) -> TakenCall | None:
        seq = self._last_seq_of.get(mobile)
        return None if seq is None else self.call(seq)

    def repeated_first(self, limit: int) -> dict[str, int]:
        """The first mobiles that were taken more than once, and how often each was."""
        return dict(islice(self.repeated.items(), limit))
