"""How a campaign is watched."""

from worker.cli.campaign.show import watch_live


class Watched:
    """A campaign that is over after that many looks. Each look takes that many seconds."""

    def __init__(self, looks: int, takes: float) -> None:
        self.looks, self.takes = looks, takes
        self.time = 0.0
        self.shown: list[object] = []
        self.slept: list[float] = []

    @property
    def is_final(self) -> bool:
        return len(self.shown) == self.looks

    def look(self) -> "Watched":
        self.time += self.takes
        return self

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.slept.append(seconds)

    def watch(self) -> None:
        watch_live(self.look, self.shown.append, clock=lambda: self.time, sleep=self.sleep)


def test_it_is_looked_at_every_two_seconds_at_most_until_it_is_over() -> None:
    watched = Watched(looks=3, takes=0.1)
    watched.watch()
    assert len(watched.shown) == 3
    assert watched.slept == [2.0, 2.0]


def test_a_look_that_takes_long_is_followed_by_as_long_a_pause() -> None:
    watched = Watched(looks=2, takes=5.0)
    watched.watch()
    assert watched.slept == [5.0]
