"""What the records of a process show, by the handlers of logging, of Celery and of gunicorn: in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PASSWORD, BROKER, LEDGER, TOKEN = "gate/way+key-4711", "bro%2Fker-4712", "led%40ger-4713", "push-token-4714-abcdef"
MOBILES = ("13812348000", "+8613912348001", "008613712348002", "8613612348003")
SETTINGS = {
    "SMS_REDIS_URL": f"redis://:{BROKER}@127.0.0.1:6379/0",
    "SMS_LEDGER_URL": f"postgresql://sms:{LEDGER}@127.0.0.1/sms",
    "SMS_EPR_ID": "1",
    "SMS_USER_ID": "u",
    "SMS_PASSWORD": PASSWORD,
    "SMS_PUSH_TOKEN": TOKEN,
    "SMS_PUSH_ALLOW": "127.0.0.1/32",
}
SECRET = (PASSWORD, "gate%2Fway%2Bkey-4711", BROKER, "bro/ker-4712", LEDGER, "led@ger-4713", TOKEN)

CELERY = """
from worker.app import app
app.conf.broker_read_url
app.log.setup(loglevel="DEBUG", redirect_stdouts=True)
"""
GUNICORN = """
import logging
from gunicorn.config import Config
from gunicorn.glogging import Logger
import callback_app.wsgi
config = Config()
config.set("loglevel", "debug")
config.set("errorlog", "-")
Logger(config)
logging.basicConfig(level="DEBUG")
"""
SMS = """
import sys
from contextlib import suppress
from worker.cli import main
said, sys.argv = sys.argv[1:], ["sms", "--help"]
with suppress(SystemExit):
    main()
sys.argv = ["", *said]
import logging
logging.basicConfig(level="DEBUG")
"""
SAY = """
import logging, sys, threading
said = sys.argv[1:]

def fail(text):
    try:
        raise ValueError(f"the first: {text}")
    except ValueError as why:
        raise RuntimeError(f"the second: {text}") from why

def speak():
    for name in ("", "worker.sending.submit", "celery.task", "celery.redirected", "gunicorn.error", "urllib3.util", "other"):
        log = logging.getLogger(name)
        for level in range(logging.DEBUG, logging.CRITICAL + 1, 10):
            for text in said:
                log.log(level, "as it is: " + text.replace("%", "%%") + " %s", "x")
                log.log(level, "put in: %s and %r", text, {"of": [text]})
                log.log(level, "by name: %(text)s", {"text": text})
                log.log(level, "it does not fit: %d %d", text)
                log.log(level, "with a stack", stack_info=True)
                try:
                    fail(text)
                except RuntimeError:
                    log.log(level, "it failed", exc_info=True)
    print("printed", *said, file=sys.stderr if sys.stderr is not sys.__stderr__ else open("/dev/null", "w"))

speak()
thread = threading.Thread(target=speak)
thread.start()
thread.join()
logging.getLogger("a.b").critical("the end")
"""
PAYLOAD = "您的验证码是 987123"
CARRY = f"""
import logging
text = {PAYLOAD!r}
say = logging.getLogger
say("celery.worker.strategy").debug("TaskPool: Apply %s (args:%r kwargs:%r)", "sms.send", [text], {{"message": text}})
say("celery.worker.consumer.consumer").error("Received unregistered task of type %s.\\n\\nThe full contents of the message body was:\\n%s", "x", text)
say("celery.worker.consumer.consumer").critical("Can't decode message body: %r [type:%r]", ValueError(), text)
say("celery.worker.consumer.consumer").warning("Received and deleted unknown message. body: %s", text)
say("kombu.pidbox").debug("pidbox received method %s(%s)", "x", text)
say("kombu.channel").debug(text)
say("sqlalchemy.engine.Engine").debug("Row %r", (text,))
say("urllib3.connectionpool").debug('%s://%s:%s "%s %s %s" %s %s', "http", "h", 80, "GET", "/api?content=" + text, "HTTP/1.1", 200, 1)
say("worker.x").warning("HTTPConnectionPool: Max retries exceeded with url: /api?content=%E9%AA%8C987123&key=k (Caused by x)")
say("worker.x").error("the end")
"""


def what_is_logged(code: str, *arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **SETTINGS},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "the end" in ran.stderr
    return ran.stdout + ran.stderr


@pytest.mark.parametrize("set_up", [CELERY, GUNICORN, SMS], ids=["celery", "gunicorn", "sms"])
def test_no_record_of_any_logger_or_level_shows_a_secret_or_a_whole_mobile(set_up: str) -> None:
    logged = what_is_logged(set_up + SAY, *SECRET, *MOBILES)
    assert [secret for secret in SECRET if secret in logged] == []
    assert [mobile for mobile in MOBILES if mobile[-11:] in logged] == []
    assert "138****8000" in logged
    assert "the first: 138****8000" in logged
    assert "--- Logging error ---" not in logged


@pytest.mark.parametrize("set_up", [CELERY, GUNICORN], ids=["celery", "gunicorn"])
def test_no_record_of_a_library_that_carries_texts_shows_one(set_up: str) -> None:
    logged = what_is_logged(set_up + CARRY)
    assert "987123" not in logged
    assert "TaskPool: Apply" in logged or set_up == GUNICORN


ESCAPED = r"a %2013812348000 b \u67f313812348000 c 138-1234-8000 d 手机13812348000号"
IDS = "0aaaaaaa-1381-4234-8000-138123480001 1763877600000 913812348000"


def test_a_mobile_is_masked_however_it_is_written_and_an_id_is_left_whole() -> None:
    code = CELERY + "import logging, sys\nlogging.getLogger('a').error(sys.argv[1] + ' the end')"
    assert what_is_logged(code, ESCAPED).count("138****8000") == 4
    assert IDS in what_is_logged(code, IDS)
