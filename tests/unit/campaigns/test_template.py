"""The text of a campaign: as it is, or filled from the columns of each row; what it may not say, and which rows make none."""

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.campaigns.template import RowRefused, TemplateFault, compile_text
from worker.domain.text import content_faults

HEADER = ("mobile", "姓名", "amount", "积分", "订单 号", "if", "A", "Ａ")
ROW = ("13800138000", " 王芳 ", "941.83", "120", "NO-7", "", "half", "full")


def rendered(content: str, row: tuple[str, ...] = ROW) -> str:
    return compile_text(content, HEADER).render(row)


@pytest.mark.parametrize("content", ["春装上市，拒收请回复R", "{姓名} }} {# x #} %}", "第一行\r\n第二行\n"])
def test_a_text_without_a_place_to_fill_is_taken_as_it_is(content: str) -> None:
    text = compile_text(content, HEADER)
    assert (text.personal, text.render(ROW)) == (False, content)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("尊敬的{{ 姓名 }}，账单{{amount}}元\n", "尊敬的王芳，账单941.83元\n"),
        ('订单{{ row["订单 号"] }}', "订单NO-7"),
        ('{{ row["if"] or "客户" }}', "客户"),
        ('{{ row["if"]|default("客户") }}', "客户"),
        ("尾号{{ mobile[-4:] }}，{{ 姓名[0] }}先生", "尾号8000，王先生"),
        ("{% if 积分|int >= 100 %}金卡{% elif 积分|int >= 10 %}银卡{% else %}客户{% endif %}", "金卡"),
        ('{{ "贵宾" if amount|float > 1000 else "客户" }}', "客户"),
        ('{% if 姓名 in ["王芳", "李娜"] %}{{ 姓名 ~ "女士" }}{% endif %}', "王芳女士"),
        ('{{ amount|replace(".", "元")|upper|lower|trim }}', "941元83"),
        ("{% raw %}{{ 姓名 }}{% endraw %}{{ A }}{{ Ａ }}", "{{ 姓名 }}halffull"),
    ],
)
def test_a_template_is_filled_from_the_columns_of_the_row(content: str, expected: str) -> None:
    text = compile_text(content, HEADER)
    assert (text.personal, text.render(ROW)) == (True, expected)


def test_a_template_that_is_the_same_for_all_is_one_text() -> None:
    text = compile_text('{{ "您好" }}', HEADER)
    assert (text.personal, text.render(ROW)) == (False, "您好")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{{ row["if"] }}', 'column "if" is empty'),
        ('{{ row["if"] or row["if"] }}', 'column "if" is empty'),
        ('{{ row["if"] ~ "" }}', 'column "if" is empty'),
        ('{{ 姓名 if 积分 == "1" else row["if"] }}', 'what line 1 makes of "积分" and "姓名" and "if" is empty'),
        ("{{ 姓名[9] }}", 'column "姓名" is empty'),
        ("{{ 姓名|int }}", 'column "姓名" holds no whole number'),
        ("{{ amount|int }}", 'column "amount" holds no whole number'),
        ("{% if 姓名|float > 1 %}{% endif %}", 'column "姓名" holds no number'),
        ('{{ "inf"|float }}{{ 姓名 }}', "holds no number"),
        ("{{ 姓名 == 姓名 }}", 'column "姓名" is empty'),
        ('{{ "金" if 积分 == "1" }}', 'column "积分" is empty'),
        ("{{ 姓名[9]|upper }}", "has no element 9"),
        ("{{ 姓名[:积分] }}", "a word is used as a number"),
        ("{{ -姓名 }}", "a word is used as a number"),
        ("【某商城】{{ 姓名 }}", "its text carries a signature"),
        ("{{ '\u200b' }}{{ 姓名 }}", "its text has the character U+200B (ZERO WIDTH SPACE) at position 0"),
        ("字" * 999 + "{{ 姓名 }}", "its text has 1001 characters"),
    ],
)
def test_a_row_that_would_leave_a_hole_is_refused_with_the_reason(content: str, reason: str) -> None:
    with pytest.raises(RowRefused) as refusal:
        rendered(content)
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{{ 姓 }}", 'the audience has no column "姓", did you mean 姓名?; it has {{ mobile }}, {{ 姓名 }}'),
        ("{{ row['订单号'] }}", "did you mean 订单 号?"),
        ("{{ nothing }}", '{{ row["订单 号"] }}, {{ row["if"] }}'),
        ("{{ row }}", 'no column "row"'),
        ("{{ 姓名|uper }}", "there is no |uper, did you mean |upper?; there are |default, |float"),
        ("{{ 姓名|filled }}", "there is no |filled"),
        ("{{ 姓名|default }}", "|default is not used so"),
        ("{{ 姓名|int(reason='x') }}", "|int is not used so"),
        ("{{ 姓名|replace(*['a', 'b']) }}", "|replace is not used so"),
        ("{{ 积分 > 5 }}", "a word is compared with a number; make one of it: column|int, column|float"),
        ("{% if 积分 in [1, 2] %}{% endif %}", "a word is compared with a number"),
        ("\n{{ 订单 号 }}", "line 2: expected token 'end of print statement', got '号'; write {{ column }}"),
        ("{{ 姓名 or “客户” }}", "with straight quotes"),
        ("{{ 姓名", "line 1: unexpected end of template"),
        ("{{" + "(" * 300 + "1" + ")" * 300 + "}}", "too many brackets"),
        ("{{ " + "not " * 30 + "1 }}", "more than 20 things within each other"),
        ("{{ 姓名 }}" * 1000, "more than 3000; shorten it"),
        ('{{ "" }}', "in every row what {{ }} in line 1 has is empty"),
        ("字" * 1001, "the text has 1001 characters"),
        ("【某商城】您好", "the text carries a signature"),
    ],
)
def test_a_fault_of_a_text_says_what_to_do(content: str, said: str) -> None:
    with pytest.raises(TemplateFault) as fault:
        compile_text(content, HEADER)
    assert said in str(fault.value)


def test_all_faults_are_reported_at_once_each_with_its_line() -> None:
    with pytest.raises(TemplateFault) as fault:
        compile_text(
            "{{ 姓 }}{{ 姓 }}\n{{ amount|uper }}\n\n{{ 姓名.x }}{% for a in 姓名 %}{{ a }}{% endfor %}", HEADER
        )
    assert [sentence[:20] for sentence in fault.value.faults] == [
        "line 1: the audience",
        "line 2: there is no ",
        "line 4: a point is n",
        "line 4: {% for %} is",
    ]


def test_a_fault_lists_the_first_few_of_many_columns() -> None:
    with pytest.raises(TemplateFault, match=r"\{\{ c9 \}\} and 90 more$"):
        compile_text("{{ x }}", [f"c{number}" for number in range(100)])


@pytest.mark.parametrize(
    "content",
    [
        "{{ 9 ** 9 ** 9 }}",
        "{{ 'x' * 1000000000 }}",
        "{{ 姓名 + 姓名 }}",
        "{{ range(1000000000) }}",
        "{{ 姓名.upper() }}",
        "{{ 姓名.__class__ }}",
        "{{ 姓名['__class__'] }}",
        "{{ 姓名['upper'] }}",
        "{{ ''['format'] }}",
        "{{ 姓名|attr('upper') }}",
        "{{ '%1000000000d'|format(1) }}",
        "{{ 姓名|center(1000000000) }}",
        "{{ self }}",
        "{{ loop }}",
        "{{ cycler('a') }}",
        "{{ 姓名 is defined }}",
        "{{ {'a': 1} }}",
        "{{ 姓名[::0] }}",
        "{{ 7[0:] }}",
        "{{ (not 姓名)[0:] }}",
        "{{ 1e400 }}",
        "{% set a = 'x' %}{{ a }}",
        "{% for a in 姓名 %}x{% endfor %}",
        "{% macro a() %}{% endmacro %}x",
        "{% include '/etc/passwd' %}",
        "{% extends 'x' %}",
        "{% import 'x' as y %}",
        "{% filter upper %}x{% endfilter %}",
        "{% with a = 1 %}{% endwith %}x",
        "{% block a %}x{% endblock %}",
        "{% do 1 %}",
    ],
)
def test_a_template_can_neither_run_for_long_nor_make_much_nor_reach_anything(content: str) -> None:
    with pytest.raises(TemplateFault):
        compile_text(content, HEADER)


def test_a_number_beyond_all_numbers_refuses_its_row() -> None:
    for column in ("积分|int", "积分|float", "积分|int|float"):
        with pytest.raises(RowRefused, match="holds no"):
            rendered(f"{{% if {column} > 1 %}}x{{% endif %}}", (*ROW[:3], "9" * 400, *ROW[4:]))


def test_replacing_again_and_again_does_not_make_a_text_grow_without_end() -> None:
    with pytest.raises(RowRefused, match="far too long"):
        rendered("{{ 姓名" + "|replace('', 'xxxxxxxxxx')" * 15 + " }}")


_WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)


@given(
    st.lists(
        st.tuples(st.text("您好，,.!0aA\n", max_size=20), st.sampled_from(["姓名", "amount"])), min_size=1, max_size=5
    ),
    _WORDS,
    _WORDS,
)
def test_a_text_has_every_place_filled_or_is_not_made(parts: list[tuple[str, str]], name: str, amount: str) -> None:
    values = {"姓名": name.strip(), "amount": amount.strip()}
    content = "".join(f"{words}{{{{ {column} }}}}" for words, column in parts)
    expected = "".join(words + values[column] for words, column in parts)
    row = ("", name, amount, *ROW[3:])
    if all(values[column] for _, column in parts) and not content_faults(expected):
        assert rendered(content, row) == expected
    else:
        with pytest.raises(RowRefused):
            rendered(content, row)


_TOKENS = (
    *("{{", "}}", "{%", "%}", "{#", "#}", "-", "(", ")", "[", "]", ":", ".", ",", "|", "~", "*", "**", "+", "=", "=="),
    *("if", "elif", "else", "endif", "for", "in", "endfor", "set", "or", "and", "not", "is", "raw", "endraw", "row"),
    *(
        "姓名",
        "积分",
        "self",
        "range",
        "__class__",
        "replace",
        "int",
        "default",
        "upper",
        "'x'",
        '"',
        "1",
        "1e400",
        "0x9",
        "\n",
    ),
)


@given(st.lists(st.sampled_from(_TOKENS), max_size=30).map(" ".join), st.tuples(*[_WORDS] * len(HEADER)))
def test_whatever_is_written_makes_a_text_or_is_refused(content: str, row: tuple[str, ...]) -> None:
    _makes_a_text_or_is_refused("{{ " + content, row)


_EXPRESSIONS = st.recursive(
    st.sampled_from(["姓名", "积分", 'row["订单 号"]', '"x"', "''", "7", "-1", "1.5", "true", "none"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["or", "and", "~", "==", "<", ">=", "in", "not in"]), inner).map(" ".join),
        inner.map("(not {})".format),
        inner.map("({})[0]".format),
        inner.map("姓名[:{}]".format),
        inner.map("积分[{}:][0]".format),
        st.tuples(inner, inner, inner).map(lambda three: f"({three[0]} if {three[1]} else {three[2]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]} if {two[1]})"),
        st.tuples(inner, st.sampled_from(["int", "float", "upper", "lower", "trim"])).map(
            lambda two: f"({two[0]})|{two[1]}"
        ),
        st.tuples(inner, inner, inner).map(lambda three: f"({three[0]})|replace({three[1]}, {three[2]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]})|default({two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"[{two[0]}, {two[1]}]"),
    ),
    max_leaves=12,
)


@given(_EXPRESSIONS, st.tuples(*[_WORDS] * len(HEADER)))
def test_whatever_can_be_said_makes_a_text_or_is_refused(expression: str, row: tuple[str, ...]) -> None:
    _makes_a_text_or_is_refused(f"{{{{ {expression} }}}}{{% if {expression} %}}x{{% endif %}}", row)


def _makes_a_text_or_is_refused(content: str, row: tuple[str, ...]) -> None:
    try:
        with warnings.catch_warnings(action="error"):
            text = compile_text(content, HEADER).render(row)
    except (TemplateFault, RowRefused) as error:
        assert str(error)
    else:
        assert content_faults(text) == []
