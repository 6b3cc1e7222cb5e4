"""deploy/sbom.json names what production installs, in the form that CycloneDX demands."""

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
from cyclonedx.model.bom import Bom

from deploy import sbom

LOCK_TEXT = sbom.LOCK.read_text()
SAID = json.loads(sbom.SBOM.read_text())
PROJECT = {"name": "app", "version": "1"}
SMALL = """\
one==1.0 ; python_full_version < '3.12' \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via two
one==2.0 ; python_full_version >= '3.12' \\
    --hash=sha256:cc
    # via two
two==3.0.post1 \\
    --hash=sha256:dd
    # via
    #   -c requirements.lock
    #   app (pyproject.toml)

# The following packages were excluded from the output:
# three
"""


def test_it_names_the_packages_of_the_production_lock_with_their_versions_and_hashes_and_no_others():
    expected, package = {}, None  # read line by line, not as deploy/sbom.py reads it
    for line in LOCK_TEXT.splitlines():
        if pin := re.match(r"([\w.-]+)==([\w.]+)", line):
            expected[package := pin.groups()] = set()
        elif digest := re.match(r" +--hash=sha256:([0-9a-f]{64})", line):
            expected[package].add(digest[1])
    components = {(each["name"], each["version"]): each["hashes"] for each in SAID["components"]}
    assert len(components) == len(SAID["components"])
    assert {pin: {each["content"] for each in hashes} for pin, hashes in components.items()} == expected
    assert all(expected.values())
    assert {each["alg"] for hashes in components.values() for each in hashes} == {"SHA-256"}


def test_it_has_what_the_specification_demands():
    assert (SAID["bomFormat"], SAID["specVersion"], SAID["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", SAID["serialNumber"])
    root = SAID["metadata"]["component"]
    refs = [each["bom-ref"] for each in (root, *SAID["components"])]
    assert len(refs) == len(set(refs))
    assert [each["ref"] for each in SAID["dependencies"]] == refs
    assert {ref for each in SAID["dependencies"] for ref in each["dependsOn"]} == set(refs[1:]), "each is asked for"
    for each in SAID["components"]:
        assert each["type"] == "library"
        assert each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}"


def test_another_program_reads_it():
    bom = Bom.from_json(SAID)
    assert bom.validate()
    assert len(bom.components) == len(SAID["components"])


def test_the_application_asks_for_the_dependencies_of_the_project():
    project = tomllib.loads((sbom.REPO / "pyproject.toml").read_text())["project"]
    root = SAID["dependencies"][0]
    asked = {re.fullmatch(r"pkg:pypi/(.+)@.+", ref)[1] for ref in root["dependsOn"]}
    assert root["ref"] == f"{project['name']}@{project['version']}"
    assert asked >= {name.partition("[")[0] for name in project["dependencies"]}


def test_it_is_what_the_lock_and_the_project_say_now():
    assert sbom.main(["--check"]) is None


def test_it_holds_no_address_and_no_time():
    assert "://" not in sbom.SBOM.read_text()
    assert "timestamp" not in SAID["metadata"]


def test_versions_for_several_pythons_are_components_of_their_own_with_their_markers():
    said = json.loads(sbom.sbom(SMALL, PROJECT))
    components = {each["bom-ref"]: each for each in said["components"]}
    assert list(components) == ["pkg:pypi/one@1.0", "pkg:pypi/one@2.0", "pkg:pypi/two@3.0.post1"]
    assert [each["content"] for each in components["pkg:pypi/one@1.0"]["hashes"]] == ["aa", "bb"]
    [marker] = components["pkg:pypi/one@2.0"]["properties"]
    assert marker == {"name": "uv:package:marker", "value": "python_full_version >= '3.12'"}
    assert {each["ref"]: each["dependsOn"] for each in said["dependencies"]} == {
        "app@1": ["pkg:pypi/two@3.0.post1"],
        "pkg:pypi/one@1.0": [],
        "pkg:pypi/one@2.0": [],
        "pkg:pypi/two@3.0.post1": ["pkg:pypi/one@1.0", "pkg:pypi/one@2.0"],
    }


def test_the_same_lock_gives_the_same_text_and_another_lock_another_serial_number():
    first = sbom.sbom(SMALL, PROJECT)
    assert sbom.sbom(SMALL, PROJECT) == first
    other = sbom.sbom(SMALL.replace("sha256:dd", "sha256:ee"), PROJECT)
    assert json.loads(other)["serialNumber"] != json.loads(first)["serialNumber"]


@pytest.mark.parametrize("line", ["name @ file:///somewhere", "name>=1 \\", "name==1"])
def test_a_line_that_pins_nothing_by_a_hash_is_told(line):
    with pytest.raises(ValueError, match="no pin with hashes: name"):
        list(sbom.pins(f"{line}\n"))


def test_the_check_tells_of_a_stale_or_missing_file_and_writes_none(tmp_path):
    path = tmp_path / "sbom.json"
    for write in (lambda: None, lambda: path.write_text("{}\n")):
        write()
        assert "`python3 run.py lock` makes it anew" in sbom.main(["--check"], path)
    assert path.read_text() == "{}\n"
    assert sbom.main([], path) is None
    assert path.read_text() == Path(sbom.REPO, "deploy", "sbom.json").read_text()


def test_it_is_made_with_the_standard_library_alone():
    source = Path(sbom.__file__).read_text()
    assert set(re.findall(r"^(?:import|from) (\w+)", source, re.MULTILINE)) <= sys.stdlib_module_names
