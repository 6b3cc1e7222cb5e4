#!/usr/bin/env python3
"""The everyday commands, for a machine that has nothing but Python: they make `.venv` and go on in it.

requirements.lock decides what `.venv` contains. Most commands replace this process with another program.
"""

# Annotations stay text, so that a Python too old for this project still gets as far as telling so.
from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NoReturn

USAGE = """\
usage: python3 run.py COMMAND [ARGS]

  demo    the whole system on this machine, against a simulated gateway
  test    the tests, but for the long ones; `test --all` runs these too, `test --long` these alone; other ARGS go to pytest
  lint    ruff, mypy, the import contracts, the lock files, the SBOM
  audit   asks OSV for known vulnerabilities of what production installs; ARGS go to pip-audit. Exit code 3: not audited
  bench   the benchmarks
  chaos   the whole system under fire: things break at random, and what is lost or doubled is counted
  attack  attacks that once succeeded, tried again against a stack of its own: is each of them held?
  fuzz    a million pushes that are nearly right for the parser, 20,000 over HTTP (`fuzz --help`)
  sms     any command of the `sms` CLI
  lock    make the lock files and the SBOM anew from pyproject.toml (needs uv; `lock --upgrade` takes newer versions)"""

REPO = Path(__file__).resolve().parent
VENV = REPO / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "complete"
LOCK = REPO / "requirements.lock"
PRODUCTION_LOCK = REPO / "deploy" / "requirements.lock"

# docs/testing.md describes the kinds of tests and the marks.
# Tests wait for servers now and then: one process more than there are cores keeps these busy.
SIDE_BY_SIDE = ("-n", str(min((os.cpu_count() or 1) + 1, 5)), "--dist", "worksteal")
SHORT_TESTS = ((*SIDE_BY_SIDE, "-m", "not long"),)
LONG_TESTS = (
    # No more than there are cores: each keeps one busy, and some wait for a system to recover in time.
    ("-n", "logical", "--maxprocesses", "4", "--dist", "worksteal", "-m", "beside and long"),
    ("tests/system", "-m", "not beside and long"),
)
TESTS = {(): SHORT_TESTS, ("--long",): LONG_TESTS, ("--all",): SHORT_TESTS + LONG_TESTS}

OLDEST, NEWEST_TESTED = (3, 11), (3, 13)

LINTERS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports",),
    ("python", "-m", "deploy.sbom", "--check"),
)
# This runs in the repo, so that no path of this machine gets into the files.
COMPILE = "uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml"
# Some dependencies ask for packages that production never imports; we leave these out. Other packages stay, because
# production imports them at its start: celery's command imports click-repl (and that imports prompt-toolkit and
# wcwidth), pydantic-settings python-dotenv, typer shellingham. tests/unit/deploy/test_production_lock.py tests both.
LEFT_OUT = {
    "colorama": "for Windows alone",
    "et-xmlfile": "openpyxl takes lxml where it is there, and it is",
    "markdown-it-py": "for rich's Markdown, which we do not print",
    "mdurl": "for markdown-it-py",
    "pygments": "for rich's tracebacks and source code: ours are Python's own, and we show no code",
    "tzdata": "for Windows alone",
}


class Stop(Exception):
    """No command can run until the user has done what the text says."""


def main(args: list[str]) -> int:
    """Returns the exit code of `lint`, `lock` and the standard tests. Any other command replaces this process."""
    command, rest = (args[0], args[1:]) if args else ("", [])
    if command not in ("demo", "test", "lint", "bench", "chaos", "attack", "fuzz", "sms", "lock", "audit"):
        asked = command in ("-h", "--help")
        if command and not asked:
            print(f"run.py: there is no command {command!r}", file=sys.stderr)
        print(USAGE, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    if not supported(tuple(sys.version_info[:2])):
        become(other_python(), __file__, *args)
    if remark := newer_than_tested(tuple(sys.version_info[:2])):
        print(remark, file=sys.stderr)
    if command == "lock":
        return lock(rest)
    ensure_venv()
    if command in ("demo", "sms"):  # these take file names, which mean what they mean where the user stands
        become(str(PYTHON), str(VENV / "bin" / "sms"), *(["demo"] if command == "demo" else []), *rest)
    os.chdir(REPO)
    if command == "lint":
        return lint()
    if command == "test" and tuple(rest) in TESTS:
        return test(TESTS[tuple(rest)])
    module = {"test": "pytest", "fuzz": "tests.fuzz_push", "audit": "deploy.audit"}.get(command, command)
    return become(str(PYTHON), "-m", module, *rest)


def test(kinds: tuple[tuple[str, ...], ...]) -> int:
    """Runs these kinds of tests, one kind after the other. Each starts even if the one before failed."""
    codes = {subprocess.run([str(PYTHON), "-m", "pytest", *options], check=False).returncode for options in kinds}
    return int(codes != {0})


def become(program: str, *args: str) -> NoReturn:
    os.execv(program, [program, *args])


def supported(version: tuple[int, ...]) -> bool:
    return version[:2] >= OLDEST


def other_python() -> str:
    """A supported Python on PATH. Each is run first, because a pyenv shim may stand for a version that is not there."""
    probe = "import sys; print(*sys.version_info[:2], sys.executable)"
    for path in filter(None, map(shutil.which, ("python3.13", "python3.12", "python3.11", "python3.14"))):
        said = subprocess.run([path, "-I", "-c", probe], capture_output=True, text=True, check=False)
        if said.returncode == 0:
            major, minor, executable = said.stdout.strip().split(" ", 2)
            if supported((int(major), int(minor))):
                return executable
    raise Stop(
        f"this is Python {platform.python_version()} and the project needs 3.11 or newer: install one of them "
        "(on Debian and Ubuntu e.g. `apt-get install python3.11-venv`), and run the same command again."
    )


def newer_than_tested(version: tuple[int, ...]) -> str:
    """The remark for a user whose Python is newer than those of the tests; empty for other users."""
    if version[:2] <= NEWEST_TESTED:
        return ""
    newest = ".".join(map(str, NEWEST_TESTED))
    return f"run.py: this is Python {version[0]}.{version[1]}, and the tests have run on none newer than {newest}."


def stamp() -> str:
    """What a complete `.venv` was made from. Where any of this changes, or the repo is moved, `.venv` is made anew."""
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    return f"{digest}\n{platform.python_version()} {sysconfig.get_platform()}\n{VENV}\n"


def is_complete() -> bool:
    # The interpreter is looked at too: it is a link, and the Python behind it may have been uninstalled.
    return STAMP.is_file() and STAMP.read_text() == stamp() and PYTHON.exists()


def ensure_venv() -> None:
    if is_complete():
        return
    uv = shutil.which("uv")
    if not uv and not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        package = f"python3.{sys.version_info[1]}-venv"
        raise Stop(
            f"this Python cannot make a virtual environment: `apt-get install {package}` (Debian, Ubuntu), or uv."
        )
    directory = os.open(REPO, os.O_RDONLY)  # locked itself, so that no lock file lies about
    os.set_inheritable(directory, True)  # an installer that outlives a killed run.py holds the lock until it ends
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        if not is_complete():  # another run.py may have made it while this one waited
            make_venv(uv)
    except PermissionError as error:
        raise Stop(
            f"{VENV} must be made anew and {error.filename} is another user's: run this once as them."
        ) from error
    except subprocess.CalledProcessError as error:
        raise Stop(f"{VENV} could not be made, the reason stands above: `{shlex.join(error.cmd)}` failed.") from error
    finally:
        os.close(directory)


def make_venv(uv: str | None) -> None:
    if VENV.is_symlink():
        raise Stop(f"{VENV} is a link, and is not what {LOCK.name} asks for: remove the link, and run this again.")
    print(f"run.py: making {VENV} from {LOCK.name}, this once ...", file=sys.stderr)
    if VENV.exists():
        # The stamp goes first and comes last, so whatever interrupts this leaves a .venv that is seen to be half-made.
        STAMP.unlink(missing_ok=True)
        shutil.rmtree(VENV)
    # The Python underneath, should this one be in a virtual environment: it may be the one just removed.
    python = getattr(sys, "_base_executable", sys.executable)
    # No source distributions: what builds them would be fetched without a hash.
    locked = ["--quiet", "--require-hashes", "--only-binary", ":all:", "-r", str(LOCK)]
    if uv:
        call(uv, "venv", "--quiet", "--python", python, str(VENV))
        # Compiled now: whoever runs this next may not be allowed to write there, and would compile on every start.
        call(uv, "pip", "install", "--python", str(PYTHON), "--compile-bytecode", *locked)
    else:
        call(python, "-m", "venv", str(VENV))
        call(str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *locked)
    link_project()
    STAMP.write_text(stamp())


def link_project() -> None:
    """Puts the project in `.venv` by a path file and a launcher.

    An editable install does the same, but it needs a build backend, which the lock would have to carry for this alone.
    """
    packages = sysconfig.get_path("purelib", "venv", {"base": str(VENV)})
    Path(packages, "sms-worker.pth").write_text(f"{REPO}\n")
    launcher = VENV / "bin" / "sms"
    # Starts as a shell script, as pip's do: the path may be too long, or have blanks, for a `#!` line.
    launcher.write_text(f"""\
#!/bin/sh
'''exec' {shlex.quote(str(PYTHON))} "$0" "$@"
' '''
import sys

from worker.cli import main

sys.exit(main())
""")
    launcher.chmod(0o755)


def call(*command: str) -> None:
    subprocess.run(command, cwd=REPO, check=True, close_fds=False)


def lint() -> int:
    """Every check runs, whatever the ones before it found. Returns the exit code of the first that failed."""
    codes = [subprocess.run([VENV / "bin" / name, *args], check=False).returncode for name, *args in LINTERS]
    for path in (LOCK, PRODUCTION_LOCK):
        if "://" in path.read_text():
            print(
                f"{path}: holds an address; each user chooses where packages come from, so remove it", file=sys.stderr
            )
            codes.append(1)
    return next(filter(None, codes), 0)


def lock(args: list[str]) -> int:
    if not shutil.which("uv"):
        raise Stop("`lock` needs uv on PATH: `pip install uv` in any virtual environment brings it.")
    left_out = " ".join(f"--no-emit-package {name}" for name in LEFT_OUT)
    files = ("--all-extras -o requirements.lock", f"-c requirements.lock -o deploy/requirements.lock {left_out}")
    commands = [[*COMPILE.split(), *more.split(), *args] for more in files]
    commands.append([sys.executable, "-m", "deploy.sbom"])
    codes = (subprocess.run(each, cwd=REPO, check=False).returncode for each in commands)
    return next(filter(None, codes), 0)  # the first that fails is the last that is run


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Stop as reason:
        print(f"run.py: {reason}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
