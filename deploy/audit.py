"""Asks OSV (through pip-audit) which known vulnerabilities are in what production installs, deploy/requirements.lock.

Exit code 0: all was asked for and nothing is known. 1: something is known. 2: pip-audit failed.
3: not audited, for the service could not be asked, or did not know what it must know.
`PIP_AUDIT_OSV_URL` is pip-audit's setting for another address of the service.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import typer

from deploy.sbom import LOCK, REPO, Pin, pins

# OSV, not PyPI: a mirror of PyPI mostly has no advisories, and pip-audit takes that for good news.
PIP_AUDIT = [sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv", "--format", "json"]
PLAIN = ["--output", "stdout", "--progress-spinner", "off", "--aliases", "on", "--desc", "off"]
# The pins are asked for as they stand: nothing is resolved, nothing is installed.
FROZEN = ["--no-deps", "--disable-pip"]

# Asked for with ours: a service that does not know its vulnerabilities (CVE-2019-12308 and others) knows none.
CANARY = ("django", "2.2.1")
# How pip-audit ends when it has no use for what the service said, or heard nothing. All else is a fault on our side.
UNREACHED = re.compile(r"^(?:requests\.exceptions\.|pip_audit\._service\.|.*Could not connect to ).*", re.MULTILINE)


class Failed(Exception):
    """pip-audit itself failed."""


class Answer(NamedTuple):
    code: int
    out: str
    err: str


class Judgement(NamedTuple):
    """`known`: name, version and vulnerability. `gaps`: why something was not audited, if so."""

    known: list[tuple[str, str, dict[str, Any]]]
    gaps: list[str]


def main(options: list[str]) -> int:
    asked = list(pins(LOCK.read_text()))
    try:
        judgements = [judged(ask(packages, options)) for packages in rounds(asked)]
    except Failed as why:
        typer.echo(f"audit: pip-audit failed:\n{why}", err=True)
        return 2
    known = [each for judgement in judgements for each in judgement.known]
    gaps = dict.fromkeys(gap for judgement in judgements for gap in judgement.gaps)  # each once, in order
    for name, version, vulnerability in known:
        names = ", ".join([vulnerability["id"], *vulnerability["aliases"]])
        mended = ", ".join(vulnerability["fix_versions"]) or "no version yet"
        typer.echo(f"{name:<20} {version:<12} {names}; mended in {mended}")
    for gap in gaps:
        typer.echo(f"NOT AUDITED: {gap}.", err=True)
    if not gaps:
        typer.echo(f"Audited: {len(asked)} packages of {LOCK.relative_to(REPO)}. Known vulnerabilities: {len(known)}.")
    return 1 if known else 3 if gaps else 0


def rounds(asked: list[Pin]) -> list[list[tuple[str, str]]]:
    """Each with one version of a package, for pip-audit takes no two: the lock has another version for another Python."""
    by_round: list[list[tuple[str, str]]] = []
    for pin in asked:
        packages = next((each for each in by_round if pin.name not in dict(each)), None)
        if packages is None:
            by_round.append(packages := [])
        packages.append((pin.name, pin.version))
    return by_round


def ask(packages: list[tuple[str, str]], options: list[str]) -> Answer:
    """Without the markers of the lock: what is for another Python than this one is asked for too."""
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder, "requirements.txt")
        asked.write_text("".join(f"{name}=={version}\n" for name, version in [*packages, CANARY]))
        command = [*PIP_AUDIT, *PLAIN, *FROZEN, "--requirement", str(asked), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Answer(done.returncode, done.stdout, done.stderr)


def judged(answer: Answer) -> Judgement:
    try:
        report = json.loads(answer.out)["dependencies"]
    except (ValueError, LookupError, TypeError) as error:
        if unreached := UNREACHED.search(answer.err):
            return Judgement([], [f"the service that knows vulnerabilities could not be asked ({unreached[0]})"])
        raise Failed(f"{answer.out}{answer.err}exit code {answer.code}") from error
    known = [(each["name"], each["version"], vuln) for each in report for vuln in each.get("vulns", [])]
    gaps = [each["skip_reason"] for each in report if "skip_reason" in each]
    if CANARY not in {(name, version) for name, version, _ in known}:
        gaps.append(
            f"the service knows no vulnerability of {' '.join(CANARY)}, which has some, so it may know none at all"
        )
    return Judgement([each for each in known if each[:2] != CANARY], gaps)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
