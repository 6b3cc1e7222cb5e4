"""The files of deploy/ and docker-compose.yml as the tests here read them."""

import re
import shlex
import subprocess
from pathlib import Path

import yaml

REPO = Path(__file__).parents[3]
DEPLOY = REPO / "deploy"
COMPOSE = yaml.safe_load((REPO / "docker-compose.yml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
SERVICES = COMPOSE["services"]
LOCKED = set(re.findall(r"^([\w.-]+)==", (DEPLOY / "requirements.lock").read_text(), re.MULTILINE))


def command(name):
    said = SERVICES[name]["command"]
    return said if isinstance(said, list) else shlex.split(said)


def make_secrets(folder, typed):
    return subprocess.run([folder / "make-secrets"], input=typed, text=True, capture_output=True, check=False)
