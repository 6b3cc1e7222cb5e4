"""`python -m simulator`: reads the command line, listens, and ends at SIGTERM.

Passwords come from a file or from SIM_PASSWORD, and the callback URL from SIM_PUSH_URL: every process list shows a
command line.
"""

import argparse
import asyncio
import ipaddress
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from simulator.app import build_app
from simulator.behaviour import Behaviour
from simulator.pusher import PushSettings
from simulator.rules import Account, Rules


def main() -> None:
    parser = _parser()
    options = parser.parse_args()
    host = "127.0.0.1" if options.host == "localhost" else options.host
    if not (options.allow_remote or _is_loopback(host)):
        parser.error(f"{host} is not a loopback address: anyone could reach /sim/; --allow-remote listens there anyway")
    try:
        rules = Rules(_accounts(options), options.timestamp_window_seconds, options.max_mobiles)
        behaviour = Behaviour(latency_ms=options.latency_ms, push_url=options.push_url)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    pushes = PushSettings(
        batch=options.push_batch,
        delay_seconds=options.report_delay_ms / 1000,
        retry_seconds=options.push_retry_ms / 1000,
        max_attempts=options.max_push_attempts,
    )
    asyncio.run(_serve(build_app(rules, behaviour, pushes, options.signature), host, options.port))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulator", description="A stand-in for the SMS gateway.")
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="0, the default, picks a free port")
    add("--allow-remote", action="store_true", help="listen beyond loopback; the control API is then open to all")
    add(
        "--epr-id",
        default="1",
        help="enterprise id of the first account; its password is in --password-file or SIM_PASSWORD",
    )
    add("--user-id", default="sword123", help="user id of the first account")
    add("--password-file", type=Path, help="file with the password of the first account")
    add(
        "--accounts",
        type=Path,
        action="append",
        default=[],
        help='JSON file with further accounts: [{"epr_id": …, "user_id": …, "password": …}]; may be repeated',
    )
    add("--max-mobiles", type=int, default=50, help="largest number of mobiles in a call; 0 means no limit")
    add("--timestamp-window-seconds", type=float, default=600, help="how far a timestamp may be from the clock")
    add("--latency-ms", type=float, default=0, help="time before each answer")
    add("--signature", default="【模拟】", help="text that the gateway puts before each content")
    _add_push_options(add)
    return parser


def _add_push_options(add: Callable[..., object]) -> None:
    add(
        "--push-url",
        default=os.environ.get("SIM_PUSH_URL"),
        help="the callback URL; its path is a secret, so SIM_PUSH_URL is the better place; "
        "without it nothing is pushed until /sim/behave names one",
    )
    add("--report-delay-ms", type=float, default=100, help="time from a call to the push of its reports")
    add("--push-batch", type=_positive, default=50, help="largest number of items in a push")
    add("--push-retry-ms", type=float, default=1000, help="time until a push is tried again")
    add("--max-push-attempts", type=int, default=100, help="tries of each push; 0 means no limit")


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return int(text)


def _accounts(options: argparse.Namespace) -> tuple[Account, ...]:
    accounts = []
    password = _password(options.password_file)
    if password:
        accounts.append(Account(options.epr_id, options.user_id, password))
    for path in options.accounts:
        for row in json.loads(path.read_text("utf-8")):
            if missing := {"epr_id", "user_id", "password"} - row.keys():
                raise ValueError(f"{path}: an account lacks {', '.join(sorted(missing))}")
            accounts.append(Account(str(row["epr_id"]), str(row["user_id"]), str(row["password"])))
    if not accounts:
        raise ValueError("no account: give --password-file, SIM_PASSWORD or --accounts")
    return tuple(accounts)


def _password(path: Path | None) -> str:
    return path.read_text("utf-8").rstrip("\r\n") if path else os.environ.get("SIM_PASSWORD", "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _serve(app: web.Application, host: str, port: int) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    # The end does not wait for a call that hangs. For aiohttp, 0 would mean for ever.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
        address = runner.addresses[0]
        shown_host = f"[{address[0]}]" if ":" in address[0] else address[0]
        sys.stdout.write(f"simulator listening on http://{shown_host}:{address[1]}\n")
        sys.stdout.flush()
        await ended.wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    main()
