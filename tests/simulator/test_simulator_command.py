"""The command line: its address, its accounts, and how it ends."""

import hashlib
import json
import signal
import subprocess
import threading
import time

import pytest
from simulator_driver import PASSWORD, ROOT, eventually, running_simulator, sim_command, sim_environment


def test_it_ends_at_sigterm_at_once_though_a_call_hangs() -> None:
    with running_simulator() as sim:
        sim.fault(do="hang_before", seconds=60)
        waiting = threading.Thread(target=sim.raw_send)
        waiting.start()
        eventually(lambda: sim.get("summary")["calls_in_flight"] == 1)
        began = time.monotonic()
        sim.process.send_signal(signal.SIGTERM)
        assert sim.process.wait(5) == 0
        assert time.monotonic() - began < 2
        assert sim.process.stdout.read() == ""
        waiting.join()


def test_it_knows_the_accounts_of_files(tmp_path) -> None:
    (tmp_path / "password").write_text(PASSWORD + "\n", encoding="utf-8")
    (tmp_path / "more.json").write_text(json.dumps([{"epr_id": 7, "user_id": "seven", "password": "p7"}]))
    options = ("--password-file", str(tmp_path / "password"), "--accounts", str(tmp_path / "more.json"))
    with running_simulator(*options, password=None) as sim:
        timestamp = str(int(time.time() * 1000))
        key = hashlib.md5(f"7sevenp7{timestamp}".encode()).hexdigest()
        assert sim.result() == "1"
        assert sim.result(eprId="7", userId="seven", key=key, timestamp=timestamp) == "1"
        assert sim.result(eprId="7") == "-6"


def test_without_a_cap_a_call_may_carry_any_number_of_mobiles() -> None:
    with running_simulator("--max-mobiles", "0") as sim:
        assert sim.result(mobile=",".join(f"138{n:08d}" for n in range(20_000))) == "1"
        assert sim.get("summary")["max_mobiles_per_call"] == 20_000


@pytest.mark.parametrize(
    ("options", "environment", "error"),
    [
        (("--host", "0.0.0.0"), {"SIM_PASSWORD": "x"}, "loopback"),
        ((), {}, "SIM_PASSWORD"),
        (("--password-file", "/nonexistent"), {}, "/nonexistent"),
        (("--push-batch", "0"), {"SIM_PASSWORD": "x"}, "push-batch"),
        (("--latency-ms", "-1"), {"SIM_PASSWORD": "x"}, "latency_ms"),
    ],
    ids=["beyond loopback", "no password", "no such file", "empty batch", "negative latency"],
)
def test_it_refuses_to_start(options, environment, error) -> None:
    ended = subprocess.run(
        sim_command(*options),
        cwd=ROOT,
        env=sim_environment(**environment),
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert ended.returncode == 2
    assert error in ended.stderr
    assert ended.stdout == ""
