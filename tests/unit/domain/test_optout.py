"""Which replies opt out."""

import pytest

from worker.domain.optout import OPTOUT_WORDS, is_optout, normalised


@pytest.mark.parametrize(
    "content",
    [
        "TD", "td", "Td", " td ", "\ttd\r\n", "Ｔ", "ｔｄ", "T D", "TD.", "TD!", "TD。", "TD！", "TD．", "TD｡", "TD !! ",
        "T", "N", "r", "\ufeffT\u200b", "TD\ufe0f", "退", "退订", "退订。", "　退订　", "退 订", "退订！！",
    ],
)  # fmt: skip
def test_a_word_opts_out_however_it_is_written(content: str) -> None:
    assert is_optout(content)


@pytest.mark.parametrize(
    "content",
    ["", " ", "。", "!", "T恤有货吗", "不退订", "退订吗?", "TDTD", "T.D", "!TD", "TD,", "我要退订", "1", "no", "ТД"],
)
def test_what_is_no_word_alone_opts_nobody_out(content: str) -> None:
    assert not is_optout(content)


def test_other_words_are_in_the_place_of_those() -> None:
    words = frozenset({normalised("取消"), normalised("QX")})
    assert is_optout("qx!", words)
    assert is_optout("取消", words)
    assert not is_optout("TD", words)


def test_the_words_are_kept_as_they_are_compared() -> None:
    assert {"td", "退订"} < OPTOUT_WORDS == {normalised(word) for word in OPTOUT_WORDS}
