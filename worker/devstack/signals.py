"""Signals that wait until it is safe to act on them."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Signalled(Exception):
    """The program was asked to end; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def deferred_signals() -> Iterator[Callable[[], None]]:
    """Within the block, SIGINT, SIGTERM and SIGHUP are only noted.

    Yields a function that raises Signalled once one has come.

    So no signal interrupts between the start of a process and its being recorded, or in the middle of the clean-up.
    """
    noted: list[int] = []

    def raise_noted() -> None:
        if noted:
            raise Signalled(noted[0])

    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup
        numbers.remove(signal.SIGHUP)
    before = {number: signal.signal(number, lambda received, _: noted.append(received)) for number in numbers}
    try:
        yield raise_noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
