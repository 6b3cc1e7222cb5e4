"""Writes the SBOM of production, deploy/sbom.json (CycloneDX 1.6), from deploy/requirements.lock.

A bare Python makes it beside the lock, so it uses no library. An SBOM library would replace only the last lines here:
the others read the lock. `uv export` writes names, versions and hashes too, but from a lock of its own. Its output also
has the addresses of the files, and the time. The SBOM names no licences, because no lock has them.
"""

import json
import re
import sys
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

REPO = Path(__file__).resolve().parents[1]
LOCK = REPO / "deploy" / "requirements.lock"
SBOM = REPO / "deploy" / "sbom.json"

PIN = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>[^ ;\\]+)(?: ; (?P<marker>[^\\]+?))? \\$")
HASH = re.compile(r"^    --hash=sha256:(\w+)", re.MULTILINE)
VIA = re.compile(r"^    # +(?:via )?(?!via$|-c )([\w.-]+)", re.MULTILINE)


class Pin(NamedTuple):
    """A version of a package in the lock. `via` has the names of the packages that ask for it, or of the project."""

    name: str
    version: str
    marker: str | None
    hashes: list[str]
    via: list[str]

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{self.name}@{self.version}"


def pins(lock: str) -> Iterator[Pin]:
    for entry in re.split(r"^(?=\w)", lock, flags=re.MULTILINE)[1:]:
        first, _, rest = entry.partition("\n")
        pin = PIN.match(first)
        if not pin:
            raise ValueError(f"this line of the lock is no pin with hashes: {first}")
        yield Pin(pin["name"], pin["version"], pin["marker"], HASH.findall(rest), VIA.findall(rest))


def sbom(lock: str, project: dict[str, Any]) -> str:
    """The SBOM. The same lock and project give the same text: it has no time, and the rest makes its serial number."""
    locked = list(pins(lock))
    name, version = project["name"], project["version"]
    root = f"{name}@{version}"
    content = {
        "metadata": {"component": {"type": "application", "bom-ref": root, "name": name, "version": version}},
        "components": [component(pin) for pin in locked],
        "dependencies": [
            {"ref": ref, "dependsOn": [pin.purl for pin in locked if asking in pin.via]}
            for asking, ref in [(name, root), *((pin.name, pin.purl) for pin in locked)]
        ],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(content))
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": serial.urn, "version": 1}
    return json.dumps(head | content, indent=1) + "\n"


def component(pin: Pin) -> dict[str, Any]:
    """The package as CycloneDX has it, with the hashes of all its files: one for each platform, and the source."""
    said: dict[str, Any] = {"type": "library", "bom-ref": pin.purl, "name": pin.name, "version": pin.version}
    said |= {"purl": pin.purl, "hashes": [{"alg": "SHA-256", "content": digest} for digest in pin.hashes]}
    if pin.marker:  # uv's own name for it: where the package is installed at all
        said["properties"] = [{"name": "uv:package:marker", "value": pin.marker}]
    return said


def main(args: list[str], path: Path = SBOM) -> str | None:
    """Writes the SBOM to the file, or compares the file with `--check`. Returns what is wrong, or None."""
    if args not in ([], ["--check"]):
        return f"unknown arguments: {' '.join(args)}; give none to write {path}, or --check to compare it"
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    text = sbom(LOCK.read_text(), project)
    if args != ["--check"]:
        path.write_text(text)
    elif not path.exists() or path.read_text() != text:
        return f"{path} does not match the lock: `python3 run.py lock` makes it anew"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
