"""What a reply means: each code of the document, and each way in which a reply goes wrong."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from worker.domain.outcome import Outcome, Verdict
from worker.gateway.codes import Code
from worker.gateway.response import MAX_BODY_BYTES, MAX_TIPS, read_response

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DATE = format_datetime(NOW, usegmt=True)


def outcome(body: bytes | str, status: int = 200, hide: dict[str, str] | None = None, **headers: str) -> Outcome:
    named = CaseInsensitiveDict({name.replace("_", "-"): text for name, text in headers.items()})
    raw = body.encode() if isinstance(body, str) else body
    return read_response(status, named, raw, now=NOW, hide=hide or {})


DOCUMENT = [
    (1, "成功", Verdict.ACCEPTED),
    (0, "失败", Verdict.FAILED),
    (-1, "缺少参数", Verdict.REJECTED),
    (-2, "请求已经过期", Verdict.CLOCK),
    (-3, "Key验证失败", Verdict.ACCOUNT),
    (-4, "Ip验证失败", Verdict.ACCOUNT),
    (-5, "eprId不存在", Verdict.ACCOUNT),
    (-6, "userId不存在", Verdict.ACCOUNT),
    (-7, "定时日期格式不对", Verdict.REJECTED),
    (-8, "签名不对", Verdict.REJECTED),
]
WRITTEN = {
    "json": '{{"result":"{0}","tips":"提示"}}',
    "json number": '{{"result": {0}, "tips": "提示"}}',
    "json float": '{{"result": {0}.0, "tips": "提示"}}',
    "json spaced": ' \n{{"tips": " 提示 ", "result": " {0} "}}\r\n',
    "json with BOM": '\ufeff{{"result":"{0}","tips":"提示"}}',
    "xml": '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
    "<serviceResult><result>{0}</result><tips>提示</tips></serviceResult>",
    "xml spaced": "\n<serviceResult>\n <result> {0} </result>\n <tips>\n提示\n</tips>\n</serviceResult>\n",
    "xml bare": "<serviceResult><tips>提示</tips><result>{0}</result></serviceResult>",
    "xml with BOM": '\ufeff<?xml version="1.0"?><serviceResult><result>{0}</result><tips>提示</tips></serviceResult>',
    "xml in a namespace": '<s xmlns="urn:x"><result>{0}</result><tips>提示</tips></s>',
    "xml that lies about its encoding": '<?xml version="1.0" encoding="GBK"?>'
    "<s><result>{0}</result><tips>提示</tips></s>",
}


def test_the_table_holds_the_codes_of_the_document_and_no_other() -> None:
    assert [(code.number, code.text, code.verdict) for code in Code] == DOCUMENT


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize(("number", "text", "verdict"), DOCUMENT)
def test_every_code_gives_its_verdict_however_it_is_written(
    number: int, text: str, verdict: Verdict, form: str
) -> None:
    assert outcome(WRITTEN[form].format(number)) == Outcome(verdict, str(number), "提示")


@pytest.mark.parametrize("form", ["json", "xml"])
def test_a_reply_in_gbk_is_read(form: str) -> None:
    assert outcome(WRITTEN[form].format(-8).encode("gbk")) == Outcome(Verdict.REJECTED, "-8", "提示")


@pytest.mark.parametrize(
    "body",
    [
        '{"result":"-8"}',
        '{"result":-8,"tips":null}',
        '{"result":-8,"tips":""}',
        "<s><result>-8</result></s>",
        "<s><result>-8</result><tips/></s>",
    ],
)
def test_where_tips_are_missing_the_words_of_the_document_stand(body: str) -> None:
    assert outcome(body) == Outcome(Verdict.REJECTED, "-8", "签名不对")


@pytest.mark.parametrize("number", [2, -9, 100, 999999999])
@pytest.mark.parametrize("form", ["json", "xml bare"])
def test_a_code_that_the_document_lacks_is_rejected_with_the_body_kept(number: int, form: str) -> None:
    body = WRITTEN[form].format(number)

    assert outcome(body) == Outcome(Verdict.REJECTED, str(number), body)


UNREADABLE = {
    "nothing": b"",
    "blanks": b" \r\n ",
    "a page": b"<!DOCTYPE html><html><body>It works!</body></html>",
    "a bare code": b"1",
    "a list": b'[{"result":"1"}]',
    "half a JSON": b'{"result":"1","tips":"\xe6\x88',
    "half an XML": b"<serviceResult><result>1</result>",
    "no result in JSON": b'{"tips":"ok"}',
    "no result in XML": b"<serviceResult><tips>ok</tips></serviceResult>",
    "an empty result": b'{"result":""}',
    "an empty result in XML": b"<s><result/></s>",
    "a word": b'{"result":"success"}',
    "a truth": b'{"result":true}',
    "null": b'{"result":null}',
    "a fraction": b'{"result":0.5}',
    "not a number": b'{"result":NaN}',
    "infinity": b'{"result":1e999}',
    "a nested result": b'{"result":{"code":1}}',
    "a number of 5000 digits": b'{"result":' + b"1" * 5000 + b"}",
    "deep nesting": b"[" * 60_000,
    "an entity": b'<!DOCTYPE s [<!ENTITY x "1">]><s><result>&x;</result></s>',
    "an entity in the middle": b'<!DOCTYPE s [<!ENTITY x "0">]><s><result>1&x;</result></s>',
    "a file": b'<!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/hostname">]><s><result>1</result><tips>&x;</tips></s>',
    "UTF-16": '{"result":"1"}'.encode("utf-16"),
    "too much": b'{"result":"1","tips":"' + b"x" * MAX_BODY_BYTES + b'"}',
    "noise": bytes(range(256)),
}


@pytest.mark.parametrize("label", UNREADABLE)
def test_a_200_that_cannot_be_read_is_unknown_and_says_why(label: str) -> None:
    got = outcome(UNREADABLE[label])

    assert (got.verdict, got.result) == (Verdict.UNKNOWN, None)
    assert got.tips is not None
    assert got.tips.startswith("HTTP 200, and the body cannot be read (")


def test_the_tips_of_a_200_that_cannot_be_read_show_how_it_begins() -> None:
    assert outcome("<html>你好").tips == "HTTP 200, and the body cannot be read (broken XML): 你好"


@pytest.mark.parametrize("status", [302, 404, 429, 502])
def test_of_a_page_the_tips_are_its_words_and_none_of_its_markup(status: int) -> None:
    page = (
        "<!DOCTYPE html>\r\n<html><head><title>502 Bad Gateway</title><style>h1 > b { color: red }</style></head>\r\n"
        "<body>\r\n<center><h1>502 Bad&nbsp;Gateway</h1></center>\r\n<hr><center>nginx &amp; pa55</center></body></html>"
    )
    hidden = outcome(page, status, hide={"& pa55": "…"})
    assert hidden.tips == f"HTTP {status}: 502 Bad Gateway 502 Bad Gateway nginx …"


@pytest.mark.parametrize("body", ["<html>" + "<" * 60_000, "<html>" + "<style>" * 9_000, "<html><body></body></html>"])
def test_a_page_that_says_nothing_is_shown_as_it_came(body: str) -> None:
    tips = outcome(body, 502).tips
    assert tips is not None
    assert tips.startswith("HTTP 502: <")


IN_A_MINUTE = format_datetime(NOW + timedelta(minutes=1), usegmt=True)
A_MINUTE_AGO = format_datetime(NOW - timedelta(minutes=1), usegmt=True)
STATUSES = [
    # label, status, Retry-After, verdict, wait in seconds
    ("too many, no word when", 429, None, Verdict.BUSY, None),
    ("too many, in seconds", 429, "7", Verdict.BUSY, 7),
    ("too many, a date", 429, IN_A_MINUTE, Verdict.BUSY, 60),
    ("too many, garbage", 429, "soon", Verdict.BUSY, None),
    ("too many, negative", 429, "-5", Verdict.BUSY, None),
    ("away, in seconds", 503, " 7 ", Verdict.BUSY, 7),
    ("away, at once", 503, "0", Verdict.BUSY, 0),
    ("away, capped to an hour", 503, "86400", Verdict.BUSY, 3600),
    ("away, a date", 503, IN_A_MINUTE, Verdict.BUSY, 60),
    ("away, a date next year", 503, "Sat, 02 Jan 2027 03:04:05 GMT", Verdict.BUSY, 3600),
    ("away, a date that has passed", 503, A_MINUTE_AGO, Verdict.BUSY, None),
    ("away, negative", 503, "-1", Verdict.BUSY, None),
    ("away, garbage", 503, "1.5 or so", Verdict.BUSY, None),
    ("away, no word when", 503, None, Verdict.BUSY, None),
    ("error", 500, None, Verdict.UNKNOWN, None),
    ("error with a date", 500, "7", Verdict.UNKNOWN, None),
    ("bad gateway", 502, "7", Verdict.UNKNOWN, None),
    ("gateway timeout", 504, None, Verdict.UNKNOWN, None),
    ("other 5xx", 599, None, Verdict.UNKNOWN, None),
    ("bad request", 400, None, Verdict.REJECTED, None),
    ("forbidden", 403, "7", Verdict.REJECTED, None),
    ("not found", 404, None, Verdict.REJECTED, None),
    ("other 4xx", 499, None, Verdict.REJECTED, None),
    ("moved", 301, None, Verdict.UNKNOWN, None),
    ("see other", 303, None, Verdict.UNKNOWN, None),
    ("moved for now", 307, None, Verdict.UNKNOWN, None),
    ("early hints", 103, None, Verdict.UNKNOWN, None),
    ("no status that there is", 999, None, Verdict.UNKNOWN, None),
]


@pytest.mark.parametrize(
    ("status", "retry_after", "verdict", "wait"), [row[1:] for row in STATUSES], ids=[row[0] for row in STATUSES]
)
def test_a_status_gives_its_verdict_whatever_the_body_says(
    status: int, retry_after: str | None, verdict: Verdict, wait: int | None
) -> None:
    got = outcome('{"result":"1"}', status, **({"Retry_After": retry_after} if retry_after else {}))

    assert got == Outcome(
        verdict, None, f'HTTP {status}: {{"result":"1"}}', None if wait is None else timedelta(seconds=wait)
    )


@pytest.mark.parametrize("status", [200, 201, 202, 299])
def test_any_2xx_is_judged_by_its_body(status: int) -> None:
    assert outcome('{"result":"1","tips":"成功"}', status).verdict is Verdict.ACCEPTED
    assert outcome("", status).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("status", [200, 301, 404, 429, 500])
@pytest.mark.parametrize("ahead", [0, 90, -7200])
def test_the_skew_is_told_wherever_there_is_a_date(status: int, ahead: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=ahead), usegmt=True)

    assert outcome('{"result":"-2"}', status, date=date).skew == timedelta(seconds=ahead)


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 01 Jan 0001 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        format_datetime(NOW + timedelta(days=1, seconds=1), usegmt=True),
        format_datetime(NOW - timedelta(days=1, seconds=1), usegmt=True),
    ],
)
def test_a_date_more_than_a_day_from_ours_tells_no_skew(date: str) -> None:
    assert outcome('{"result":"-2"}', date=date).skew is None
    assert outcome("", 429, date=date, retry_after="5").retry_after == timedelta(seconds=5)


@pytest.mark.parametrize("date", ["", "yesterday", "Fri, 99 Jan 2026 03:04:05 GMT", "2026-01-02T03:04:05Z"])
def test_a_date_that_is_none_tells_no_skew(date: str) -> None:
    assert outcome("{}", date=date).skew is None


def test_a_retry_after_date_is_taken_by_the_gateways_own_clock() -> None:
    assert outcome("", 429, Date=A_MINUTE_AGO, Retry_After=DATE).retry_after == timedelta(minutes=1)


def test_tips_are_cut_and_are_one_line_that_a_database_can_keep() -> None:
    got = outcome('{"result":"0","tips":"a\\u0000b\\ud800c\\nd' + "x" * 1000 + '"}')

    assert got.tips == "a b c d" + "x" * (MAX_TIPS - 7)


@pytest.mark.parametrize("status", [200, 404, 500])
def test_what_is_to_be_hidden_is_hidden_before_the_cut(status: int) -> None:
    body = "x" * (MAX_TIPS - 50) + "secretsecret" * 10

    assert "sec" not in str(outcome(body, status, hide={"secretsecret": "***"}).tips)


def test_hiding_does_not_touch_the_code() -> None:
    assert outcome('{"result":"1","tips":"1 result"}', hide={"result": "***", "1": "*"}) == Outcome(
        Verdict.ACCEPTED, "1", "* ***"
    )


@pytest.mark.parametrize(
    ("status", "not_taken", "verdict"),
    [
        (502, {502}, Verdict.BUSY),
        (408, {408}, Verdict.BUSY),
        (503, {429}, Verdict.UNKNOWN),
        (429, set(), Verdict.REJECTED),
    ],
)
def test_which_statuses_say_that_a_call_was_not_taken_is_for_the_account_to_say(
    status: int, not_taken: set[int], verdict: Verdict
) -> None:
    assert read_response(status, {}, b"", now=NOW, hide={}, not_taken=not_taken).verdict is verdict


HEADERS = st.dictionaries(st.sampled_from(["Date", "Retry-After", "Content-Type"]), st.text(max_size=40))
BODIES = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=200).map(lambda text: f"<s><result>{text}</result></s>".encode("utf-8", "surrogatepass")),
    st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=3).map(
        lambda value: f'{{"result": {value}, "tips": {value}}}'.encode("utf-8", "surrogatepass")
    ),
)


@given(st.integers(0, 1000), HEADERS, BODIES)
@example(200, {"Date": "Fri, 02 Jan 0000 03:04:05 GMT"}, b"")
@example(200, {"Date": "Fri, 02 Jan 2026 03:04:05 +999999999999"}, b"")
@example(429, {"Retry-After": "9" * 5000}, b"")
@example(200, {}, b"\x00<")
def test_no_status_headers_or_body_make_it_raise(status: int, headers: dict[str, str], body: bytes) -> None:
    got = read_response(status, CaseInsensitiveDict(headers), body, now=NOW, hide={})

    assert got.tips is None or (len(got.tips) <= MAX_TIPS and got.tips.isprintable())
    assert got.retry_after is None or timedelta(0) <= got.retry_after <= timedelta(hours=1)
