"""The settings: checked whole, every gap in one error with its remedy, no secret shown."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from worker.config import DEFAULT_GATEWAY, VARIABLES, ConfigError, Role, load_settings, revealed
from worker.domain.caps import Cap
from worker.domain.hours import read_hours
from worker.domain.lane import LANES
from worker.domain.optout import OPTOUT_WORDS
from worker.domain.rate import Rate
from worker.ledger.engine import open_engine

ALL = {
    "SMS_REDIS_URL": "redis://localhost/0",
    "SMS_LEDGER_URL": "sqlite:///x.db",
    "SMS_EPR_ID": "1",
    "SMS_USER_ID": "sword123",
    "SMS_PASSWORD": "pa55-word",
    "SMS_PUSH_TOKEN": "0123456789abcdef",
    "SMS_PUSH_ALLOW": "10.0.0.0/8, ::1",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def given(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return given


def gaps(*roles: Role) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load_settings(*roles)
    assert str(error.value).splitlines()[1:] == [f"  - {gap.text}" for gap in error.value.gaps]
    return [gap.text for gap in error.value.gaps]


def test_what_is_given_is_read_and_the_rest_has_the_documents_defaults(environment) -> None:
    environment(**ALL)
    settings = load_settings("worker", "callback", "beat", "client", "ledger")
    assert settings.gateway_url == DEFAULT_GATEWAY == "http://client.sms10000.com/api/webservice"
    assert (settings.gateway_method, settings.gateway_format, settings.max_mobiles) == ("post", "json", 50)
    assert settings.push_allow == (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert settings.accounts["default"].epr_id == 1
    assert revealed(settings.accounts["default"].password) == "pa55-word"


@pytest.mark.parametrize("service", ["SMS", "SMS_REDIS", "SMS_REDIS_2"])
def test_what_kubernetes_sets_for_a_service_that_is_named_like_our_settings_is_passed_over(
    environment, service: str
) -> None:
    environment(
        **ALL,
        **{
            f"{service}_SERVICE_HOST": "10.0.0.11",
            f"{service}_SERVICE_PORT": "6379",
            f"{service}_SERVICE_PORT_REDIS_TLS": "6380",
            f"{service}_PORT": "tcp://10.0.0.11:6379",
            f"{service}_PORT_6379_TCP": "tcp://10.0.0.11:6379",
            f"{service}_PORT_6379_TCP_PROTO": "tcp",
            f"{service}_PORT_6379_TCP_PORT": "6379",
            f"{service}_PORT_6379_TCP_ADDR": "10.0.0.11",
            f"{service}_PORT_53_UDP_ADDR": "10.0.0.11",
        },
    )
    load_settings("worker")


@pytest.mark.parametrize(
    ("name", "value"), [("SMS_REDIS_PORT", "6379"), ("SMS_REDIS_HOST", "redis"), ("SMS_SERVICE", "x"), ("SMS_PORT", "")]
)
def test_what_looks_like_a_services_and_is_none_is_told_as_not_a_setting(environment, name: str, value: str) -> None:
    environment(**ALL, **{name: value})
    assert gaps("worker")[0].startswith(f"{name} is not a setting")


def test_every_gap_is_told_at_once_with_its_remedy(environment) -> None:
    environment(SMS_EPR_ID="1", SMS_READ_TIMEOUT="soon", SMS_REDISURL="x", SMS_PUSH_TOKEN="short")
    sentences = gaps("worker", "callback")
    assert [gap.split(" ")[0].strip(":") for gap in sentences] == [
        "SMS_REDISURL",
        "SMS_REDIS_URL",
        "SMS_LEDGER_URL",
        "SMS_PUSH_ALLOW",
        "SMS_USER_ID",
        "SMS_PUSH_TOKEN",
        "SMS_READ_TIMEOUT",
    ]
    assert "did you mean SMS_REDIS_URL?" in sentences[0]
    assert "such as redis://" in sentences[1]


@pytest.mark.parametrize(
    ("role", "needs"),
    [
        ("beat", ["SMS_REDIS_URL"]),
        ("client", ["SMS_REDIS_URL"]),
        ("ledger", ["SMS_LEDGER_URL"]),
        ("callback", ["SMS_REDIS_URL", "SMS_LEDGER_URL", "SMS_PUSH_TOKEN", "SMS_PUSH_ALLOW"]),
        ("worker", ["SMS_REDIS_URL", "SMS_LEDGER_URL", "the"]),
    ],
)
def test_a_process_needs_no_more_than_its_role(environment, role: Role, needs: list[str]) -> None:
    assert [gap.split(" ")[0] for gap in gaps(role)] == needs


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("SMS_GATEWAY_URL", "client.sms10000.com", "SMS_GATEWAY_URL: write an address that begins with http:// or"),
        ("SMS_GATEWAY_METHOD", "put", "'post' or 'get'"),
        ("SMS_GATEWAY_FORMAT", "yaml", "'json' or 'xml'"),
        ("SMS_CONNECT_TIMEOUT", "0", "greater than 0"),
        ("SMS_READ_TIMEOUT", "-1", "greater than 0"),
        ("SMS_MAX_MOBILES", "0", "greater than or equal to 1"),
        ("SMS_REPORT_HOURS", "0", "greater than 0"),
        ("SMS_NOT_TAKEN", "200", "SMS_NOT_TAKEN: name HTTP statuses from 400 to 599"),
        ("SMS_NOT_TAKEN", "429,", "SMS_NOT_TAKEN: name HTTP statuses from 400 to 599"),
        ("SMS_EPR_ID", "one", "SMS_EPR_ID: write a whole number"),
        ("SMS_RATE", "fast", "SMS_RATE: write a number, like 50"),
        ("SMS_MAX_MOBILES", "1.5", "SMS_MAX_MOBILES: write a whole number"),
        ("SMS_PUSH_ALLOW", "10.0.0.1/8", "write 10.0.0.0/8 for all of it"),
        ("SMS_PUSH_ALLOW", "10.0.0.0/8,office", "'office'"),
        ("SMS_PUSH_TRUSTED_PROXIES", "-1", "greater than or equal to 0"),
        ("SMS_OPTOUT_WORDS", " , 。,", "SMS_OPTOUT_WORDS: give at least one word"),
        ("SMS_SIGNATURE", "【" + "字" * 31 + "】", "at most 32 characters"),
        ("SMS_SIGNATURE", "公司", "SMS_SIGNATURE: write it within 【 and 】"),
        ("SMS_CONFIG", "/nowhere.toml", "SMS_CONFIG: /nowhere.toml cannot be read"),
        ("SMS_PASSWORD_FILE", "/nowhere", "the secret file /nowhere cannot be read"),
    ],
)
def test_what_is_wrong_is_told_under_its_name(environment, name: str, value: str, sentence: str) -> None:
    environment(**{**{k: v for k, v in ALL.items() if k != name.removesuffix("_FILE")}, name: value})
    (gap,) = gaps("worker")
    assert sentence in gap


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///ledger.db",
        "sqlite:///file:ledger.db?mode=ro&uri=true",
        "postgresql://sms:a:b/c#d@postgres:5432/sms?sslmode=require",
        "postgresql+psycopg://sms@[::1]:5432/sms",
        "postgresql:///sms?host=/run/postgresql",
    ],
)
def test_what_the_ledger_opens_is_an_address_of_a_database(environment, url: str) -> None:
    environment(**ALL | {"SMS_LEDGER_URL": url})
    assert open_engine(revealed(load_settings("worker").ledger_url)).url


@pytest.mark.parametrize("role", ["worker", "beat", "callback", "client", "ledger"])
@pytest.mark.parametrize(
    ("name", "url", "sentence"),
    [
        ("SMS_LEDGER_URL", "s3cret", "not the address of a database; write it like postgresql://sms"),
        ("SMS_LEDGER_URL", "mysql://sms:s3cret@h/sms", "not the address of a database; write it like postgresql://sms"),
        ("SMS_LEDGER_URL", "postgresql+asyncpg://sms:s3cret@h/sms", "not the address of a database; write it like"),
        ("SMS_LEDGER_URL", "postgresql://sms:s3cret@h:x/sms", "not the address of a database; write it like"),
        ("SMS_LEDGER_URL", "postgres://sms:s3cret@h/sms", "write postgresql:// for postgres://"),
        ("SMS_REDIS_URL", "localhost:6379", "not an address of a Redis; write it like redis://redis:6379/0"),
        ("SMS_REDIS_URL", "redis:6379/0", "not an address of a Redis; write it like redis://redis:6379/0"),
        ("SMS_REDIS_URL", "redis://:s3cret@h:port/0", "not an address of a Redis; write it like redis://redis:6379/0"),
        ("SMS_REDIS_URL", "redis://:s3cret@h/zero", "not an address of a Redis; write it like redis://redis:6379/0"),
        (
            "SMS_REDIS_URL",
            "redis://:s3cret@h/0?socket_timeout=long",
            "not an address of a Redis; write it like redis://",
        ),
        ("SMS_REDIS_URL", "unix:///run/redis.sock", "not an address of a Redis; write it like redis://redis:6379/0"),
        ("SMS_REDIS_URL", "redis://:12/s3cret@h/0", "%2F for /"),
        ("SMS_REDIS_URL", "redis://:12#s3cret@h/0", "%23 for #"),
        ("SMS_LEDGER_URL", "postgresql://sms:a@s3cret@h/sms", "%40 for an @"),
        ("SMS_REDIS_URL", "amqp://:s3cret@h/", "not an address of a Redis; write it like redis://redis:6379/0"),
    ],
)
def test_an_address_that_none_could_connect_to_is_told_to_every_process_without_its_password(
    environment, role: Role, name: str, url: str, sentence: str
) -> None:
    environment(**ALL | {name: url})
    (gap,) = gaps(role)
    assert gap.startswith((f"{name} is not an address", f"{name} is not the address"))
    assert sentence in gap
    assert "s3cret" not in gap


def test_a_push_token_may_be_two_while_it_is_changed(environment) -> None:
    environment(**ALL)
    assert load_settings("callback").push_tokens == ("0123456789abcdef",)
    environment(SMS_PUSH_TOKEN="0123456789abcdef, fedcba9876543210")
    assert load_settings("callback").push_tokens == ("0123456789abcdef", "fedcba9876543210")


@pytest.mark.parametrize("tokens", ["0123456789abcdef,", "0123456789abcdef,geheim", ",".join(["0123456789abcdef"] * 3)])
def test_a_push_token_that_could_be_guessed_or_is_one_of_three_is_refused_and_not_shown(
    environment, tokens: str
) -> None:
    environment(**ALL | {"SMS_PUSH_TOKEN": tokens})
    (gap,) = gaps("callback")
    assert gap.startswith("SMS_PUSH_TOKEN: ")
    assert "0123456789abcdef" not in gap
    assert "geheim" not in gap


def test_a_secret_may_be_in_a_file(environment, tmp_path: Path) -> None:
    for name in ("SMS_PASSWORD", "SMS_PUSH_TOKEN", "SMS_REDIS_URL", "SMS_LEDGER_URL"):
        (tmp_path / name).write_text(ALL[name] + "\n")
        environment(**{f"{name}_FILE": str(tmp_path / name)})
    environment(SMS_EPR_ID="1", SMS_USER_ID="sword123", SMS_PUSH_ALLOW="::1")
    settings = load_settings("worker", "callback")
    assert revealed(settings.push_token) == ALL["SMS_PUSH_TOKEN"]
    assert revealed(settings.accounts["default"].password) == ALL["SMS_PASSWORD"]


def test_credentials_under_two_names_are_refused_for_a_push_would_belong_to_either(environment, tmp_path: Path) -> None:
    (tmp_path / "sms.toml").write_text(
        f"[accounts.shop]\nepr_id = {ALL['SMS_EPR_ID']}\nuser_id = '{ALL['SMS_USER_ID']}'\npassword = 'other'\n"
        "[accounts.else]\nepr_id = 77\nuser_id = 'x'\npassword = 'p'\n"
        f"[accounts.{'n' * 65}]\nepr_id = 78\nuser_id = 'x'\npassword = 'p'\n"
        '[accounts."a\\tb"]\nepr_id = 79\nuser_id = "x"\npassword = "p"\n'
    )
    environment(**ALL | {"SMS_CONFIG": str(tmp_path / "sms.toml")})
    long, tab, twice = gaps("worker")
    assert "has 1 to 64 printable characters" in long
    assert "has 1 to 64 printable characters" in tab
    assert twice == "the accounts default and shop have the same eprId and userId; give one of them"


@pytest.mark.parametrize("content", ["", "[lanes.otp]\nvalidity = 60", "[accounts]"])
def test_a_file_without_an_account_is_no_account(environment, tmp_path: Path, content: str) -> None:
    (tmp_path / "sms.toml").write_text(content)
    given = {name: value for name, value in ALL.items() if name not in ("SMS_EPR_ID", "SMS_USER_ID", "SMS_PASSWORD")}
    environment(**given | {"SMS_CONFIG": str(tmp_path / "sms.toml")})
    (gap,) = gaps("worker")
    assert gap.startswith("the gateway account is missing")
    assert load_settings("client").accounts == {}


def test_a_secret_is_given_once(environment) -> None:
    environment(**ALL, SMS_PASSWORD_FILE="/etc/hostname")
    assert gaps("worker") == ["SMS_PASSWORD and SMS_PASSWORD_FILE are both given; give one of them"]


def test_credentials_that_are_not_whole_or_not_readable_do_not_stop_who_needs_none(environment) -> None:
    environment(SMS_REDIS_URL="redis://localhost/0", SMS_EPR_ID="1", SMS_PASSWORD_FILE="/nowhere")
    assert load_settings("client").accounts == {}


def test_further_accounts_come_from_a_file(environment, tmp_path: Path) -> None:
    (tmp_path / "shop-password").write_text("geheim")
    (tmp_path / "sms.toml").write_text(
        f"""
        [accounts.shop]
        epr_id = 2
        user_id = "shop"
        password_file = "{tmp_path / "shop-password"}"
        """
    )
    environment(**ALL, SMS_CONFIG=str(tmp_path / "sms.toml"))
    accounts = load_settings("worker").accounts
    assert sorted(accounts) == ["default", "shop"]
    assert revealed(accounts["shop"].password) == "geheim"


@pytest.mark.parametrize(
    ("options", "lanes"),
    [("", set()), ('resend_unknown = "never"', set()), ('resend_unknown = "once"', {"notice"})],
)
def test_what_is_unknown_is_sent_again_only_in_a_lane_that_says_so(
    environment, tmp_path: Path, options: str, lanes: set[str]
) -> None:
    (tmp_path / "sms.toml").write_text(f"[lanes.notice]\n{options}")
    environment(**ALL, SMS_CONFIG=str(tmp_path / "sms.toml"))
    assert load_settings("worker").resend_lanes == lanes


def test_a_section_of_the_file_that_is_no_table_is_told(environment, tmp_path: Path) -> None:
    (tmp_path / "sms.toml").write_text("lanes = 3")
    environment(**ALL, SMS_CONFIG=str(tmp_path / "sms.toml"))
    assert gaps("worker") == [
        f"SMS_CONFIG: {tmp_path / 'sms.toml'}: [lanes] is not a section; use [accounts.NAME] or [lanes.NAME]"
    ]


def test_everything_wrong_with_the_file_is_told_at_once(environment, tmp_path: Path) -> None:
    (tmp_path / "sms.toml").write_text(
        """
        [otp]
        [lanes.sms]
        [lanes.otp]
        resend_unknown = "always"
        resent = 1
        [accounts.default]
        epr_id = 1
        user_id = "x"
        password = "x"
        [accounts.shop]
        epr_id = "two"
        pasword = "x"
        """
    )
    environment(**ALL, SMS_CONFIG=str(tmp_path / "sms.toml"))
    sentences = gaps("worker")
    assert "[otp] is not a section; use" in sentences[0]
    assert "[lanes.sms] is not a lane; the lanes are otp, notice, marketing" in sentences[1]
    assert "[lanes.otp] resend_unknown: must be 'never', 'once' or 'probable'" in sentences[2]
    assert "[lanes.otp] resent: is not a setting; the settings are: resend_unknown, validity" in sentences[3]
    assert [gap.split("[accounts.shop] ")[1].split(":")[0] for gap in sentences[4:-1]] == [
        "epr_id",
        "user_id",
        "password",
        "pasword",
    ]
    assert sentences[-2].endswith("pasword: is not a setting; did you mean password?")
    assert "[accounts.default] is the account of SMS_EPR_ID already" in sentences[-1]


def test_the_rate_is_of_the_default_account_and_each_other_has_its_own(environment, tmp_path) -> None:
    (tmp_path / "sms.toml").write_text(
        '[accounts.shop]\nepr_id = 2\nuser_id = "shop"\npassword = "pa55"\nrate = 5\nmobile_rate = 100'
    )
    environment(**ALL, SMS_RATE="50", SMS_CONFIG=str(tmp_path / "sms.toml"))
    accounts = load_settings("worker").accounts
    assert {name: account.limit for name, account in accounts.items()} == {
        "default": Rate(50, None),
        "shop": Rate(5, 100),
    }


def test_which_statuses_mean_not_taken_is_for_each_account_to_say(environment, tmp_path: Path) -> None:
    (tmp_path / "sms.toml").write_text(
        '[accounts.a]\nepr_id = 2\nuser_id = "a"\npassword = "pa55"\nnot_taken = [429, 502]\n'
        '[accounts.b]\nepr_id = 3\nuser_id = "b"\npassword = "pa55"'
    )
    environment(**ALL, SMS_NOT_TAKEN="429", SMS_CONFIG=str(tmp_path / "sms.toml"))
    accounts = load_settings("worker").accounts
    assert {name: set(account.not_taken) for name, account in accounts.items()} == {
        "default": {429},
        "a": {429, 502},
        "b": {429, 503},
    }


def test_a_lane_is_as_the_file_says_and_otherwise_as_it_was(environment, tmp_path: Path) -> None:
    (tmp_path / "sms.toml").write_text(
        '[lanes.marketing]\nhours = "09:00-18:00"\nvalidity = 3600\n[lanes.notice]\nhours = "always"\nfloor = 0.1'
    )
    environment(**ALL, SMS_CONFIG=str(tmp_path / "sms.toml"))
    assert load_settings("worker").lanes == {
        "otp": LANES["otp"],
        "notice": replace(LANES["notice"], floor=0.1),
        "marketing": replace(LANES["marketing"], hours=read_hours("09:00-18:00"), validity=timedelta(hours=1)),
    }


def test_the_caps_of_a_lane_are_off_unless_set_and_each_counts_once(environment, tmp_path: Path) -> None:
    (tmp_path / "sms.toml").write_text(
        '[lanes.otp]\ncaps = ["1/minute", "5/hour", "1/60 seconds"]\n[lanes.notice]\ncaps = []'
    )
    environment(**ALL, SMS_CONFIG=str(tmp_path / "sms.toml"))
    lanes = load_settings("worker").lanes
    assert {name: lane.caps for name, lane in lanes.items()} == {
        "otp": (Cap(1, 60), Cap(5, 3600)),
        "notice": (),
        "marketing": (),
    }


@pytest.mark.parametrize(
    ("options", "gap"),
    [
        ('hours = "8 to 21"', "hours: write hours like 08:00-21:00"),
        ('hours = "08:00-08:00"', "hours: these hours have no length"),
        ("validity = 0", "validity: must be greater than 0"),
        ("floor = 1", "floor: must be less than 1"),
        ('caps = ["1/minute", "5 an hour"]', "caps: '5 an hour' is not a cap; write one like 1/minute"),
        ('caps = "1/minute"', 'caps: write a list of caps, like ["1/minute", "5/hour"]'),
        ("caps = [5]", "caps: '5' is not a cap"),
    ],
)
def test_what_is_wrong_with_a_lane_is_told(environment, tmp_path: Path, options: str, gap: str) -> None:
    (tmp_path / "sms.toml").write_text(f"[lanes.marketing]\n{options}")
    environment(**ALL, SMS_CONFIG=str(tmp_path / "sms.toml"))
    assert f"[lanes.marketing] {gap}" in gaps("worker")[0]


def test_an_account_has_its_time_zone(environment, tmp_path: Path) -> None:
    account = '[accounts.shop]\nepr_id = 2\nuser_id = "shop"\npassword = "pa55"\ntime_zone = '
    (tmp_path / "sms.toml").write_text(f'{account}"Europe/Berlin"')
    environment(**ALL, SMS_CONFIG=str(tmp_path / "sms.toml"))
    zones = {name: str(account.time_zone) for name, account in load_settings("worker").accounts.items()}
    assert zones == {"default": "Asia/Shanghai", "shop": "Europe/Berlin"}
    (tmp_path / "sms.toml").write_text(f'{account}"Berlin"')
    assert "time_zone: 'Berlin' is not a time zone" in gaps("worker")[0]


def test_optout_words_replace_the_usual_ones_and_are_kept_as_they_are_compared(environment) -> None:
    environment(**ALL)
    assert load_settings("worker").optout_words == OPTOUT_WORDS
    environment(SMS_OPTOUT_WORDS="取消, ＱＸ，退 订。,")
    assert load_settings("worker").optout_words == {"取消", "qx", "退订"}


def test_the_signature_is_of_the_default_account_and_each_other_has_its_own(environment, tmp_path: Path) -> None:
    (tmp_path / "sms.toml").write_text(
        '[accounts.shop]\nepr_id = 2\nuser_id = "shop"\npassword = "pa55"\nsignature = "【小店】"'
    )
    environment(**ALL, SMS_SIGNATURE="【公司】", SMS_CONFIG=str(tmp_path / "sms.toml"))
    signatures = {name: account.signature for name, account in load_settings("worker").accounts.items()}
    assert signatures == {"default": "【公司】", "shop": "【小店】"}


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "fast"])
def test_a_rate_that_is_none_is_told(environment, rate: str) -> None:
    environment(**ALL, SMS_RATE=rate)
    assert "SMS_RATE" in gaps("worker")[0]


def test_no_secret_is_shown(environment) -> None:
    environment(**ALL)
    shown = repr(load_settings("worker", "callback")) + str(load_settings("worker"))
    for secret in ("pa55-word", "0123456789abcdef", "localhost", "x.db"):
        assert secret not in shown


def test_a_wrong_secret_is_not_shown_in_the_error(environment) -> None:
    environment(**ALL | {"SMS_PUSH_TOKEN": "geheim"})
    assert "geheim" not in "".join(gaps("callback"))


CERTIFICATE = Path(__file__).parents[1] / "samples" / "self-signed.pem"


def test_the_gateways_authorities_may_be_pinned(environment) -> None:
    environment(**ALL, SMS_GATEWAY_URL="https://gateway.invalid/api", SMS_GATEWAY_CA=str(CERTIFICATE))
    assert load_settings("worker").gateway_ca == CERTIFICATE


@pytest.mark.parametrize(
    ("url", "ca", "sentence"),
    [
        ("http://gateway.invalid/api", CERTIFICATE, "SMS_GATEWAY_CA has no effect while SMS_GATEWAY_URL is http://"),
        (
            "https://gateway.invalid/api",
            "/nowhere.pem",
            "SMS_GATEWAY_CA: /nowhere.pem cannot be read as a PEM file of certificates",
        ),
        ("https://gateway.invalid/api", __file__, "cannot be read as a PEM file of certificates"),
    ],
)
def test_authorities_that_could_vouch_for_nothing_are_told_to_who_calls(environment, url, ca, sentence) -> None:
    environment(**ALL, SMS_GATEWAY_URL=url, SMS_GATEWAY_CA=str(ca))
    (gap,) = gaps("worker")
    assert sentence in gap
    load_settings("beat")


def test_callers_are_names_with_commas_between_and_none_is_a_campaigns(environment) -> None:
    environment(**ALL, SMS_CALLERS="shop, 银行,")
    assert load_settings("worker").callers == {"shop", "银行"}
    environment(SMS_CALLERS="shop,campaign/7")
    assert "SMS_CALLERS: 'campaign/7' that begins with" in gaps("worker")[0]


def test_keep_text_is_an_option_of_otp_alone(environment, tmp_path: Path) -> None:
    (tmp_path / "sms.toml").write_text("[lanes.otp]\nkeep_text = true\n[lanes.notice]\nvalidity = 60")
    environment(**ALL, SMS_CONFIG=str(tmp_path / "sms.toml"))
    assert {name: lane.keep_text for name, lane in load_settings("worker").lanes.items()} == dict.fromkeys(LANES, True)
    (tmp_path / "sms.toml").write_text("[lanes]\notp = 5\nnotice = {keep_text = false}\nopt = {keep_text = false}")
    text = " ".join(gaps("worker"))
    assert "[lanes.notice] keep_text is an option of otp alone" in text
    assert "[lanes.opt] is not a lane; the lanes are otp" in text
    assert "[lanes.otp]" in text


def test_a_port_of_the_gateway_that_is_none_is_told(environment) -> None:
    environment(**ALL, SMS_GATEWAY_URL="http://gateway.invalid:99999/api")
    assert gaps("worker") == ["SMS_GATEWAY_URL has a port that does not exist; write one from 1 to 65535"]
