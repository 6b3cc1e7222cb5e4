"""The gateway's result codes, its words for them, and the body that carries one (document, 1. 发送短信, Output)."""

import json
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True, slots=True)
class ResultCode:
    code: str
    tips: str  # the gateway's own words, as it sends them
    meaning: str


RESULT_CODES = {
    row.code: row
    for row in (
        ResultCode("1", "成功", "the call was taken; it says nothing about delivery"),
        ResultCode("0", "失败", "failed, with no reason given"),
        ResultCode("-1", "缺少参数", "a parameter is missing or malformed"),
        ResultCode("-2", "请求已经过期", "the timestamp is too far from the gateway's clock"),
        ResultCode("-3", "Key验证失败", "the key does not match"),
        ResultCode("-4", "Ip验证失败", "the caller's address is not allowed"),
        ResultCode("-5", "eprId不存在", "no such eprId"),
        ResultCode("-6", "userId不存在", "no such userId under this eprId"),
        ResultCode("-7", "定时日期格式不对", "a scheduled time is malformed"),
        ResultCode("-8", "签名不对", "the content carries a signature of its own"),
    )
}

TAKEN = "1"
# The document's two samples differ in this word.
XML_TAKEN_TIPS = "提交成功"


def tips_for(code: str, *, xml: bool) -> str:
    if xml and code == TAKEN:
        return XML_TAKEN_TIPS
    row = RESULT_CODES.get(code)
    return row.tips if row else "未知错误"


def result_body(result: str | int, tips: str | None, *, xml: bool) -> str:
    """The body of an answer, in the shape of the document's sample.

    A number stays a number in JSON; tips of None are left out.
    """
    if xml:
        tips_element = "" if tips is None else f"<tips>{escape(tips, quote=False)}</tips>"
        return (
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
            f"<serviceResult><result>{result}</result>{tips_element}</serviceResult>"
        )
    fields = {"result": result} if tips is None else {"result": result, "tips": tips}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
