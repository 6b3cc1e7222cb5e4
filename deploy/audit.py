"""Asks OSV, through pip-audit, for known vulnerabilities of what production installs (deploy/requirements.lock).

Exit code 0: every package was checked, and none has a known vulnerability. 1: a package has one. 2: pip-audit failed.
3: not audited, because the service gave no answer, or did not know a vulnerability that it must know.
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

# OSV, not PyPI: most mirrors of PyPI have no advisories, and pip-audit takes that for good news.
PIP_AUDIT = [sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv", "--format", "json"]
PLAIN = ["--output", "stdout", "--progress-spinner", "off", "--aliases", "on", "--desc", "off"]
# pip-audit checks the pins as they stand. It resolves nothing and installs nothing.
FROZEN = ["--no-deps", "--disable-pip"]

# This package is checked with ours. A service without its vulnerabilities (CVE-2019-12308 and others) may have none.
CANARY = ("django", "2.2.1")
# The error of pip-audit if the service gave no answer, or an unusable one. Any other error is a fault on our side.
UNREACHED = re.compile(r"^(?:requests\.exceptions\.|pip_audit\._service\.|.*Could not connect to ).*", re.MULTILINE)


class Failed(Exception):
    """pip-audit itself failed."""


class Answer(NamedTuple):
    code: int
    out: str
    err: str


class Judgement(NamedTuple):
    """`known` has name, version and vulnerability. `gaps` has the reasons why a package was not audited."""

    known: list[tuple[str, str, dict[str, Any]]]
    gaps: list[str]


def main(options: list[str]) -> int:
    asked = list(pins(LOCK.read_text()))
    try:
        judgements = [judged(ask(packages, options)) for packages in rounds(asked)]
    except Failed as error:
        typer.echo(f"audit: pip-audit failed:\n{error}", err=True)
        return 2
    known = [each for judgement in judgements for each in judgement.known]
    gaps = dict.fromkeys(gap for judgement in judgements for gap in judgement.gaps)  # each once, in order
    for name, version, vulnerability in known:
        names = ", ".join([vulnerability["id"], *vulnerability["aliases"]])
        fixes = ", ".join(vulnerability["fix_versions"])
        fixed = f"fixed in {fixes}" if fixes else "no fixed version yet"
        typer.echo(f"{name:<20} {version:<12} {names}; {fixed}")
    for gap in gaps:
        typer.echo(f"NOT AUDITED: {gap}.", err=True)
    if not gaps:
        typer.echo(f"Audited: {len(asked)} packages of {LOCK.relative_to(REPO)}. Known vulnerabilities: {len(known)}.")
    return 1 if known else 3 if gaps else 0


def rounds(asked: list[Pin]) -> list[list[tuple[str, str]]]:
    """Returns the packages in rounds. A round has one version of a package, because pip-audit takes no two.

    The lock has another version of some packages for another Python.
    """
    by_round: list[list[tuple[str, str]]] = []
    for pin in asked:
        packages = next((each for each in by_round if pin.name not in dict(each)), None)
        if packages is None:
            by_round.append(packages := [])
        packages.append((pin.name, pin.version))
    return by_round


def ask(packages: list[tuple[str, str]], options: list[str]) -> Answer:
    """Checks packages without the markers of the lock, so that it also checks packages for another Python."""
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
