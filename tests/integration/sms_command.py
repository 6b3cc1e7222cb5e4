"""The `sms` command, run in this process or as one of its own."""

import json
import os
import subprocess
import sys
from typing import Any

from typer.testing import CliRunner, Result

from worker.cli import app


def sms(*args: object) -> Result:
    """Runs the command, on a terminal of 80 columns without colours."""
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "80"}, prog_name="sms")


def sms_json(*args: object) -> Any:
    """Returns the JSON that the command prints."""
    result = sms(*args, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def sms_process(*args: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command as a process that has these settings and no others."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("SMS_")}
    command = [sys.executable, "-m", "worker.cli", *(str(arg) for arg in args)]
    return subprocess.run(command, env=bare | environment, capture_output=True, text=True, check=False)
