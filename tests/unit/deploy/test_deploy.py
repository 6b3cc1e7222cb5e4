"""docker-compose.yml and deploy/, compared with the programs that read them and the code that they start."""

import importlib.util
import logging
import re
import runpy
import shutil
import sys
from fnmatch import fnmatch

import pytest
import typer.main
import yaml
from celery import Celery
from celery.bin.base import CLIContext
from celery.bin.celery import celery as celery_command
from deploy_files import COMPOSE, DEPLOY, DOCKERFILE, REPO, SERVICES, command, make_secrets
from gunicorn.app.wsgiapp import WSGIApplication
from sqlalchemy import make_url

from callback_app.body import MAX_BODY_BYTES
from worker.config import SECRETS, VARIABLES, load_settings
from worker.domain.lane import CALLS_AT_ONCE, LANES, QUEUES
from worker.ledger.roles import ROLES as LEDGER_ROLES
from worker.ledger.roles import role_names

NGINX = (DEPLOY / "nginx.conf").read_text()
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "sms-worker"}
ROLES = {"worker": "worker", "beat": "beat", "callback": "callback", "migrate": "ledger", "roles": "ledger"}
ONCE = {"roles", "migrate"}
"""The services that do their work and end."""

each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


def parsed(group, args, obj=None):
    """The options of a subcommand, as the command line's own parser reads them; a wrong one is its UsageError."""
    context = group.make_context(args[0], args[1:])
    context.obj = obj
    name, subcommand, rest = group.resolve_command(context, [*context._protected_args, *context.args])
    return subcommand.make_context(name, rest, parent=context).params


def parsed_celery(name):
    return parsed(celery_command, command(name), CLIContext(app=Celery(), no_color=True, workdir=None))


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
        factory = logging.getLogRecordFactory()
        for path in ("/push/", "/may-push/"):
            args = ("GET", f"{path}s3cret?<xml>13800138000")
            record = factory("gunicorn.error", logging.ERROR, "", 0, "cannot serve %s %s", args, None)
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
    files = {f"deploy/secrets/{path.name}" for path in secrets.iterdir() if path.name != ".gitignore"}
    assert files == ours | of_others
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


def seconds(text):
    return int(text.removesuffix("s"))
