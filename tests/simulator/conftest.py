from collections.abc import Iterator

import pytest
from simulator_driver import CallbackServer, Simulator, running_simulator


@pytest.fixture(scope="session")
def _process() -> Iterator[Simulator]:
    with running_simulator("--report-delay-ms", "0", "--push-retry-ms", "20", "--max-push-attempts", "5") as simulator:
        yield simulator


@pytest.fixture
def sim(_process: Simulator) -> Simulator:
    """The real process, in the state of one that has just started."""
    _process.post("reset")
    return _process


@pytest.fixture
def callback(sim: Simulator) -> Iterator[CallbackServer]:
    """A callback URL that answers SUCCESS, known to the simulator."""
    server = CallbackServer()
    sim.behave(push_url=server.url)
    yield server
    sim.post("reset")
    server.close()
