"""run.py, in a repo of its own: a copy of it, a lock file that asks for nothing, and a CLI of one line."""

import os
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
CLI = "import os, sys\ndef main(): print(os.getcwd(), *sys.argv[1:]); return 3\n"


def start(repo, *args, **options):
    # No uv, and no network: what is made is a virtual environment of the standard library, with nothing in it.
    environment = {"PATH": "/usr/bin:/bin"}
    command = [sys.executable, str(repo / "run.py"), *args]
    return subprocess.Popen(command, env=environment, text=True, stdout=-1, stderr=-1, **options)


def ran(repo, *args, **options):
    process = start(repo, *args, **options)
    out, err = process.communicate()
    return process.returncode, out, err


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    """A repo whose path has a blank and a quote: neither may end up bare in a script."""
    pytest.importorskip("ensurepip", reason="Debian's Python without python3-venv: only uv makes environments here")
    folder = tmp_path_factory.mktemp("it's a repo")
    shutil.copy(REPO / "run.py", folder)
    (folder / "requirements.lock").touch()
    (folder / "worker").mkdir()
    (folder / "worker" / "cli.py").write_text(CLI)
    return folder


@pytest.mark.parametrize(("args", "code"), [([], 2), (["unknown"], 2), (["--help"], 0)])
def test_it_tells_its_commands_with_the_standard_library_alone(args, code):
    done = subprocess.run(
        [sys.executable, "-I", "-S", REPO / "run.py", *args], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    said = done.stderr if code else done.stdout
    assert said.removeprefix("run.py: there is no command 'unknown'\n").startswith("usage: python3 run.py COMMAND")
    assert ("there is no command" in said) == (args == ["unknown"])


@pytest.mark.parametrize(
    ("version", "expected"), [((2, 7), False), ((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), True)]
)
def test_it_runs_on_the_pythons_of_the_project(version, expected):
    assert runpy.run_path(str(REPO / "run.py"))["supported"](version) is expected


def test_it_and_the_project_agree_on_the_pythons():
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"


@pytest.mark.parametrize("version", [(3, 11), (3, 13)])
def test_of_a_python_that_the_tests_run_on_it_says_nothing(version):
    assert runpy.run_path(str(REPO / "run.py"))["newer_than_tested"](version) == ""


@pytest.mark.parametrize("version", [(3, 14), (4, 0)])
def test_of_a_newer_python_it_says_so_in_a_sentence(version):
    said = runpy.run_path(str(REPO / "run.py"))["newer_than_tested"](version)
    major, minor = version
    assert said == f"run.py: this is Python {major}.{minor}, and the tests have run on none newer than 3.13."


def test_two_at_once_make_one_environment_and_each_becomes_its_command(repo, tmp_path):
    both = [start(repo, "sms", "show", "an id", cwd=tmp_path) for _ in range(2)]
    said = [(*process.communicate(), process.returncode) for process in both]
    assert [(out, code) for out, _, code in said] == [(f"{tmp_path} show an id\n", 3)] * 2
    assert sum("making" in err for _, err, _ in said) == 1


def test_a_second_start_makes_nothing(repo):
    assert ran(repo, "demo", "--fast", cwd="/") == (3, "/ demo --fast\n", "")


def test_a_newer_python_goes_on(repo):
    script = (repo / "run.py").read_text()
    (repo / "run.py").write_text(script.replace("NEWEST_TESTED = (3, 11), (3, 13)", "NEWEST_TESTED = (3, 11), (3, 10)"))
    code, out, err = ran(repo, "demo", cwd="/")
    (repo / "run.py").write_text(script)
    assert (code, out) == (3, "/ demo\n")
    assert "the tests have run on none newer than 3.10." in err


def test_a_set_up_that_fails_is_told_and_made_anew_at_the_next_start(repo):
    lock = repo / "requirements.lock"
    lock.write_text("-r a-file-that-is-not-there\n")
    code, _, err = ran(repo, "sms")
    assert code == 2
    assert "could not be made, the reason stands above" in err
    lock.write_text("")
    (repo / ".venv" / "half-made").touch()
    code, _, err = ran(repo, "sms")
    assert (code, "making" in err) == (3, True)
    assert not (repo / ".venv" / "half-made").exists()


@pytest.fixture
def deploy(repo):
    """The folder deploy/, in a repo where every check of lint succeeds."""
    folder = repo / "deploy"
    folder.mkdir(exist_ok=True)
    (folder / "requirements.lock").write_text("")
    (folder / "sbom.py").write_text("import sys\nassert sys.argv[1:] == ['--check']\n")
    assert ran(repo, "sms")[0] == 3
    for linter in ("ruff", "mypy", "lint-imports"):
        (repo / ".venv" / "bin" / linter).unlink(missing_ok=True)
        (repo / ".venv" / "bin" / linter).symlink_to("/bin/true")
    return folder


def test_lint_is_content_where_every_check_is(repo, deploy):
    assert ran(repo, "lint") == (0, "", "")


def test_lint_tells_of_an_address_in_a_lock_file(repo, deploy):
    (deploy / "requirements.lock").write_text("--index-url https://packages.example/simple\n")
    code, _, err = ran(repo, "lint")
    assert code == 1
    assert "deploy/requirements.lock: holds an address" in err


def test_lint_tells_of_an_sbom_that_is_not_what_the_lock_says(repo, deploy):
    (deploy / "sbom.py").write_text("import sys\nsys.exit('stale')\n")
    assert ran(repo, "lint") == (1, "", "stale\n")


def test_the_audit_has_its_arguments_and_its_exit_code(repo, deploy):
    (deploy / "audit.py").write_text("import sys\nprint(*sys.argv[1:])\nsys.exit(3)\n")
    assert ran(repo, "audit", "--ignore-vuln", "ID", cwd="/") == (3, "--ignore-vuln ID\n", "")


UV = """\
#!/bin/sh
echo "uv $*" >> uv.said
case "$*" in *FAIL*) exit 7;; esac
"""


@pytest.mark.parametrize(("args", "code", "complete"), [([], 0, True), (["--FAIL"], 7, False)])
def test_lock_makes_both_lock_files_then_the_sbom_and_stops_where_something_fails(tmp_path, args, code, complete):
    shutil.copy(REPO / "run.py", tmp_path)
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "sbom.py").write_text("import pathlib\npathlib.Path('deploy/sbom.json').touch()\n")
    (tmp_path / "uv").write_text(UV)
    (tmp_path / "uv").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run([sys.executable, tmp_path / "run.py", "lock", *args], env=environment, check=False)
    assert done.returncode == code
    said = (tmp_path / "uv.said").read_text().splitlines()
    assert [line.partition(" -o ")[2].split()[0] for line in said] == [
        "requirements.lock",
        "deploy/requirements.lock",
    ][: 2 if complete else 1]
    assert (tmp_path / "deploy" / "sbom.json").exists() is complete


PYTEST = "import pathlib, sys\nprint(*sys.argv[1:], flush=True)\nsys.exit('not long' in sys.argv and pathlib.Path('fails').exists())\n"
SIDE_BY_SIDE = f"-n {min(os.cpu_count() + 1, 5)} --dist worksteal"
SHORT = [f"{SIDE_BY_SIDE} -m not long"]
LONG = [
    "-n logical --maxprocesses 4 --dist worksteal -m beside and long",
    "tests/system -m not beside and long",
]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(("args", "kinds"), [([], SHORT), (["--all"], [*SHORT, *LONG])])
def test_all_kinds_of_tests_are_run_whatever_the_first_says(repo, args, kinds, fails):
    (repo / "pytest.py").write_text(PYTEST)
    (repo / "fails").touch() if fails else (repo / "fails").unlink(missing_ok=True)
    code, out, _ = ran(repo, "test", *args)
    assert out.splitlines() == kinds
    assert code == int(fails)


def test_the_long_tests_can_be_run_alone_and_other_arguments_are_pytests(repo):
    (repo / "pytest.py").write_text(PYTEST)
    assert ran(repo, "test", "--long")[1].splitlines() == LONG
    assert ran(repo, "test", "-k", "one")[1] == "-k one\n"


def test_an_environment_that_is_a_link_to_another_is_left_as_it_is(repo, tmp_path):
    other = tmp_path / "of another clone"
    other.mkdir()
    (other / "complete").write_text("what it was made from")
    link = repo / ".venv"
    own = link.rename(repo / "own")
    link.symlink_to(other)
    code, _, err = ran(repo, "sms")
    link.unlink()
    own.rename(link)
    assert (code, "is a link" in err, "Traceback" in err) == (2, True, False)
    assert (other / "complete").read_text() == "what it was made from"
