"""Attacks on settings: secrets that are printed, ports that are open, and traps in a URL."""

import re
import subprocess
import sys
from pathlib import Path

from attack.system import sms, sms_json
from attack.table import Result, counted
from worker.devstack.stack import Stack

REPO = Path(__file__).parents[1]
COMPOSE = REPO / "docker-compose.yml"


def in_clear(stack: Stack) -> Result:
    """Calls a gateway in clear over a network. The simulator is the proxy, so that nothing leaves this machine."""
    away = {"SMS_GATEWAY_URL": "http://gateway.invalid/api", "http_proxy": stack.simulator_url}
    checks = {check["name"]: check for check in sms_json(stack, "doctor", **away)}
    pinned = sms(stack, "doctor", SMS_GATEWAY_CA="/nowhere.pem", SMS_GATEWAY_URL="https://127.0.0.1:1/")
    state = checks["gateway"]["state"]
    warns = "in clear" in checks["gateway"]["found"] and "/nowhere.pem" in pinned.stdout
    return Result(
        state == "look" and warns,
        f"sms doctor says {state!r}: {checks['gateway']['found'].partition(':80 ')[2][:60]}",
    )


def ports(_: Stack) -> Result:
    published = re.findall(r"^ +ports: (.*)", COMPOSE.read_text(encoding="utf-8"), re.MULTILINE)
    return Result(
        bool(published) and all(":-127.0.0.1:" in ports for ports in published), f"published: {', '.join(published)}"
    )


def address(stack: Stack) -> Result:
    """Looks for Redis passwords that break the URL in what a command prints."""
    passwords = ("s3cret/x", "s3cret#x", "s3cret?x", "s3cret[x")
    held = 0
    for password in passwords:
        url = f"redis://u:{password}@h:6379/0"
        done = sms(stack, "send", "--to", "13800138000", "--content", "x", SMS_REDIS_URL=url)
        held += "s3cret" not in done.stdout + done.stderr and "SMS_REDIS_URL" in done.stderr
    return counted(held, len(passwords), "errors name the setting, and no part of the password")


def images(_: Stack) -> Result:
    """Whether a service may write a core, and whether the SBOM agrees with the lock.

    tests/unit/deploy/test_production_lock.py tests the lock itself.
    """
    text = COMPOSE.read_text(encoding="utf-8").partition("\nservices:\n")[2].partition("\nnetworks:\n")[0]
    services = re.split(r"^  (?=\w+:$)", text, flags=re.MULTILINE)[1:]
    dumps = [
        service.partition(":")[0]
        for service in services
        if not re.search(r"<<: \*(hardened|app)$", service, re.MULTILINE)
    ]
    stale = subprocess.run([sys.executable, "-m", "deploy.sbom", "--check"], cwd=REPO, capture_output=True, check=False)
    what = f"{len(dumps)} of {len(services)} services may; SBOM and lock {'differ' if stale.returncode else 'agree'}"
    return Result(bool(services) and not dumps and stale.returncode == 0, what)
