"""The result codes of the vendor's document (返回码), and the verdict that each one gives."""

from enum import Enum

from worker.domain.outcome import Verdict


class Code(Enum):
    """A code of the document: its number, the document's words for it, and the verdict."""

    TAKEN = 1, "成功", Verdict.ACCEPTED
    FAILED = 0, "失败", Verdict.FAILED
    PARAMETER_MISSING = -1, "缺少参数", Verdict.REJECTED
    REQUEST_EXPIRED = -2, "请求已经过期", Verdict.CLOCK
    KEY_WRONG = -3, "Key验证失败", Verdict.ACCOUNT
    ADDRESS_REFUSED = -4, "Ip验证失败", Verdict.ACCOUNT
    EPR_ID_UNKNOWN = -5, "eprId不存在", Verdict.ACCOUNT
    USER_ID_UNKNOWN = -6, "userId不存在", Verdict.ACCOUNT
    SCHEDULE_MALFORMED = -7, "定时日期格式不对", Verdict.REJECTED
    SIGNATURE_WRONG = -8, "签名不对", Verdict.REJECTED

    def __init__(self, number: int, text: str, verdict: Verdict) -> None:
        self.number = number
        self.text = text
        self.verdict = verdict


BY_NUMBER = {code.number: code for code in Code}
"""The codes by number. A number without a code is a refusal that the document does not name: rejected."""
