"""Text from outside, as people may see it."""

import json
import sys
import unicodedata

import pytest

from worker.domain.escape import HIDDEN, escaped, escaped_json

HOSTILE = "a\x1b\x9b\x7f\n\u2028\u202e\u2066\u200f\u061c\u200b\ufeff\ud800z"


def test_what_commands_turns_hides_or_breaks_a_line_is_written_out() -> None:
    assert escaped(HOSTILE) == r"a\x1b\x9b\x7f\x0a\u2028\u202e\u2066\u200f\u061c\u200b\ufeff\ud800z"


@pytest.mark.parametrize("text", ["您好，王先生", "café", "👩\u200d💻 ok", "❤\ufe0f\u200d🔥", "a b"])
def test_what_can_be_read_stays(text: str) -> None:
    assert escaped(text) == text


def test_json_is_the_same_value_and_has_no_hidden_character() -> None:
    value = {"k" + HOSTILE: [HOSTILE, "好\U000e0041"]}
    written = escaped_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(written) == value
    assert escaped(written, keep="\n") == written
    assert "好" in written
    written.encode()


def test_every_format_character_that_unicode_has_is_written_out_alone() -> None:
    hidden = {
        char for char in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"}
    }
    assert {char for char in hidden if not HIDDEN.fullmatch(char)} == set()
