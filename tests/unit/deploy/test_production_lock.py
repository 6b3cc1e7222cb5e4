"""The lock of production: all that production imports, in the versions that were tested, and nothing else."""

import re
import runpy
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from deploy_files import DEPLOY, DOCKERFILE, LOCKED, REPO

from worker.cli import COMMANDS


def test_production_installs_what_was_tested_and_only_that():
    everything, production = pins(REPO / "requirements.lock"), pins(DEPLOY / "requirements.lock")
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    extras = {name for extra in project["optional-dependencies"].values() for name in extra}
    assert production <= everything
    assert {bare(name) for name in project["dependencies"]} <= {pin.partition("==")[0] for pin in production}
    assert not extras & {pin.partition("==")[0] for pin in production}
    assert "--require-hashes" in DOCKERFILE
    assert "--no-deps" in DOCKERFILE, "the lock lacks what some packages ask for and production never imports"


# Fails as production does where something is imported that is not in its lock.
ONLY_PRODUCTION = """\
import sys

class Lacking:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {lacking}:
            raise ModuleNotFoundError(f"No module named {{name!r}} in production", name=name)

sys.meta_path.insert(0, Lacking)
"""

ALL_THAT_PRODUCTION_IMPORTS = """\
import pkgutil, sys
from importlib import import_module

import celery.bin.celery, gunicorn.app.wsgiapp
import callback_app, worker

DEVELOPMENT = {"worker.cli.__main__", "worker.cli.demo", "worker.cli.up"}
for package in (worker, callback_app):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name not in DEVELOPMENT and not module.name.startswith("worker.devstack."):
            import_module(module.name)
print(*{name.partition(".")[0] for name in sys.modules})
"""

NOT_ALWAYS_IMPORTED = {"async-timeout": "redis imports it on a Python before 3.11.3, and the lock says so"}

HELP = """\
from worker import cli

for name in cli.COMMANDS.keys() - {"demo", "up"}:
    cli.load(name).main(["--help"], prog_name=f"sms {name}", standalone_mode=False)
"""

UNCAUGHT = """\
import sys
from rich.progress import Progress
from worker import cli
from worker.cli import account, messages

def messages_() -> None:
    with Progress() as progress:
        progress.advance(progress.add_task("going", total=2))
        raise RuntimeError("a mistake of ours")

messages.messages = messages_
account.account.registered_commands[0].callback = messages_
cli.main()
"""


@pytest.fixture(scope="module")
def in_production(tmp_path_factory):
    """Runs this Python without the packages that production lacks. Returns its exit code and its output."""
    folder = tmp_path_factory.mktemp("production")
    lacking = {
        module for module, names in packages_distributions().items() if not {canonical(name) for name in names} & LOCKED
    }
    (folder / "sitecustomize.py").write_text(ONLY_PRODUCTION.format(lacking=lacking))
    assert {"pytest", "aiohttp"} <= lacking
    settings = {
        "SMS_REDIS_URL": "redis://127.0.0.1:1/0",
        "SMS_LEDGER_URL": "postgresql://sms@127.0.0.1:1/sms",
        "SMS_PUSH_TOKEN": "0123456789abcdef",
        "SMS_PUSH_ALLOW": "127.0.0.1/32",
    }
    environment = settings | {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{folder}:{REPO}"}

    def run(*args):
        command = [sys.executable, *args]
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


def test_production_imports_every_package_of_its_lock_and_needs_no_other(in_production):
    code, out, err = in_production("-c", ALL_THAT_PRODUCTION_IMPORTS)
    assert code == 0, err
    packages = packages_distributions()
    imported = {canonical(name) for module in out.split() for name in packages.get(module, ())}
    assert LOCKED - imported <= set(NOT_ALWAYS_IMPORTED) <= LOCKED


def test_what_is_left_out_of_productions_lock_is_in_the_lock_of_everything():
    left_out = set(runpy.run_path(str(REPO / "run.py"))["LEFT_OUT"])
    assert left_out <= {pin.partition("==")[0] for pin in pins(REPO / "requirements.lock")}
    assert not left_out & LOCKED


def test_every_command_of_sms_helps_with_what_production_installs(in_production):
    code, out, err = in_production("-c", HELP)
    assert (code, err) == (0, "")
    assert set(re.findall(r"^Usage: sms (\w+)", out, re.MULTILINE)) == COMMANDS.keys() - {"demo", "up"}


@pytest.mark.parametrize("args", [["messages"], ["account", "list"]])
def test_a_mistake_of_ours_is_a_traceback_of_python_with_what_production_installs(in_production, args):
    code, out, err = in_production("-c", UNCAUGHT, *args)
    assert code == 1
    assert "going" in out
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.endswith("RuntimeError: a mistake of ours\n")


def bare(requirement):
    return requirement.partition("[")[0]


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(path):
    return set(re.findall(r"^([\w.-]+==[\w.]+)", path.read_text(), re.MULTILINE))
