"""The audit, by the real pip-audit, against a service of our own on this machine."""

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deploy import audit
from deploy.sbom import LOCK, REPO, Pin, pins
from worker.devstack.loopback import held_ports

CANARY = audit.CANARY[0]


def vulnerable(name, fixed):
    affected = {"package": {"name": name, "ecosystem": "PyPI"}}
    affected["ranges"] = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed}]}]
    vulnerability = {"id": f"GHSA-{name}", "aliases": [f"CVE-{name}"], "summary": "bad", "affected": [affected]}
    return {"vulns": [vulnerability]}


@pytest.fixture
def service():
    """A service that answers as OSV does. `answers` has its answers by package, `asked` what it was asked, `status` its
    HTTP status.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = asked["package"]["name"]
            server.asked.append((name, asked["version"]))
            said = server.answers.get(name, {})
            body = (said if isinstance(said, str) else json.dumps(said)).encode()
            self.send_response(server.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.status, server.answers = [], 200, {CANARY: vulnerable(CANARY, "2.2.2")}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def audited(port, *options):
    environment = {"PATH": "/usr/bin:/bin", "PIP_AUDIT_OSV_URL": f"http://127.0.0.1:{port}/v1/query"}
    command = [sys.executable, "-m", "deploy.audit", *options]
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_all_of_the_lock_is_asked_for_whatever_python_asks(service):
    code, out, err = audited(service.server_port)
    locked = {(pin.name, pin.version) for pin in pins(LOCK.read_text())}
    assert (code, err) == (0, "")
    assert out == f"Audited: {len(locked)} packages of deploy/requirements.lock. Known vulnerabilities: 0.\n"
    assert set(service.asked) == {*locked, audit.CANARY}


def test_a_known_vulnerability_fails_and_is_told_with_its_names_and_the_version_that_mends_it(service):
    service.answers["jinja2"] = vulnerable("jinja2", "99.0")
    code, out, _ = audited(service.server_port)
    assert code == 1
    [line, sum_] = out.splitlines()
    assert re.fullmatch(r"jinja2 +[\d.]+ +CVE-jinja2, GHSA-jinja2; fixed in 99\.0", line)
    assert sum_.endswith(" Known vulnerabilities: 1.")


def test_a_known_vulnerability_can_be_left_out_by_name(service):
    service.answers["jinja2"] = vulnerable("jinja2", "99.0")
    assert audited(service.server_port, "--ignore-vuln", "GHSA-jinja2")[0] == 0


def test_a_service_that_cannot_be_reached_is_no_pass_and_is_told(service):
    with held_ports(1) as [port]:
        code, out, err = audited(port)
    assert (code, out) == (3, "")
    assert err.startswith("NOT AUDITED: the service that knows vulnerabilities could not be asked (")
    assert "Connection refused" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("status", "said"), [(503, {}), (403, "blocked"), (200, "<html>sign in</html>")])
def test_a_service_that_refuses_or_talks_of_something_else_is_no_pass(service, status, said):
    service.status, service.answers = status, dict.fromkeys([CANARY, "alembic"], said)
    code, out, err = audited(service.server_port)
    assert (code, out) == (3, "")
    assert err.startswith("NOT AUDITED: the service that knows vulnerabilities could not be asked (")


def test_a_service_that_knows_nothing_is_no_pass(service):
    service.answers = {}
    code, out, err = audited(service.server_port)
    assert (code, out) == (3, "")
    assert err.startswith(f"NOT AUDITED: the service knows no vulnerability of {CANARY} ")


def test_a_pip_audit_that_fails_by_itself_is_neither_a_pass_nor_the_services_fault(service):
    code, _, err = audited(service.server_port, "--no-such-option")
    assert code == 2
    assert "audit: pip-audit failed:" in err
    assert "--no-such-option" in err


TIMEOUT = "ERROR:pip_audit._cli:Could not connect to OSV's vulnerability feed\nERROR:pip_audit._cli:Tip: your network\n"


def test_a_time_out_is_a_service_that_could_not_be_asked():
    [gap] = audit.judged(audit.Answer(1, "", TIMEOUT)).gaps
    assert "Could not connect to OSV" in gap


def test_what_was_found_is_told_also_where_something_else_was_not_audited():
    vulnerability = {"id": "CVE-1", "aliases": [], "fix_versions": []}
    report = [{"name": "a", "version": "1", "vulns": [vulnerability]}, {"name": "b", "skip_reason": "b is not there"}]
    judgement = audit.judged(audit.Answer(1, json.dumps({"dependencies": report}), ""))
    assert judgement.known == [("a", "1", vulnerability)]
    assert judgement.gaps[0] == "b is not there"


def test_versions_of_one_package_are_asked_for_in_rounds_of_their_own():
    asked = [Pin(name, version, None, [], []) for name, version in (("a", "1"), ("a", "2"), ("b", "1"))]
    assert audit.rounds(asked) == [[("a", "1"), ("b", "1")], [("a", "2")]]


def test_ci_asks_and_passes_only_if_nothing_is_known_or_nobody_could_be_asked():
    assert "python3 run.py audit || [ $? -eq 3 ]" in (REPO / ".ci" / "run").read_text()
