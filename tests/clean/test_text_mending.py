"""What holds of every rule and every text: gates are sound, mending is what the rules do, and twice is once."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.clean.text.codes import Codes
from pipeline.clean.text.mend import ROUNDS, mend
from pipeline.clean.text.notes import Notes
from pipeline.clean.text.repair import REPAIRS
from pipeline.clean.text.rule import Rule
from pipeline.clean.text.rules import PROFILES, rules_for

PIECES = [
    *"，。！？；：、～…—“”‘’（）「」《》【】,.!?;:()[]{}<>&#@/\\|-_~=*`'\"+%$^",
    *"中文国后後臺於乾汉の갠ａＡ１①²é",
    *"abwWvxXqQs0123456789",
    *" \n\t\r\x00\x0b\x1c\u00a0\u00ad\u200b\u200c\u200d\u2003\u2028\u3000\ufe0f\ufeff\u0301\u0338\u037e\ud800❤👨",
    *("……", "——", "...", "！！！", "!!!", "。。。。。。", "~~", "```", "\n\n\n", "  ", "，，", "\r\n"),
    *(
        "<br>",
        "</p>",
        "<p>",
        "<b>",
        "</b>",
        "<a href='x'>",
        "</td>",
        "<sup>2</sup>",
        "<!--",
        "-->",
        "<script>",
        "</script>",
    ),
    *("&nbsp;", "&amp;", "&lt;", "&gt;", "&#39;", "&#x4e2d;", "&#8203;", "&hellip;", "<|im_end|>", "List<String>"),
    *(
        "-{",
        "}-",
        "zh-hans:",
        "zh-hant:",
        ";",
        "A|",
        "-{zh-hans:甲;zh-hant:乙}-",
        "-{T|甲}-",
        "於戲",
        "臺灣",
        "打坏",
        "乾隆",
    ),
    *("http://a.b/c?d=", "www.a.cn/", "a@b.com", "@用户", "12.5", "3,000", "09:30", "1.2.3.4"),
    *("13812345678", "138-1234-5678", "+86", "010-62345678", "4008208820", "11010519491231002X", "4111111111111111"),
    *("QQ", "12345678", "微信", "号", "VX:", "wechat", "weixin：", "abc_123", "电话", "加", "元"),
    *("。 他", "”", "（）", "（，", "( )", "「」", "他说:“", "(中)", "（中)"),
]
"""What rules look for, in pieces that fall together at random."""

few_pieces = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6)
texts = few_pieces.flatmap(lambda few: st.lists(st.sampled_from(few), max_size=14).map("".join)) | st.text(max_size=12)
batches = st.lists(texts, max_size=6)
ALL = rules_for("web", repairs=tuple(REPAIRS))
SETS = [rules_for(profile, repairs=tuple(REPAIRS)) for profile in PROFILES] + [rules_for("prose", False, False)]
BY_NAME = {rule.name: rule for rules in SETS for rule in rules} | {f"light {r.name}": r for r in rules_for("light")}


def missed(rule: Rule, batch: list[str]) -> list[str]:
    """The texts that a rule changes although its gate says no."""
    if rule.name == "script":  # halves of characters are gone when it comes
        batch = [text.replace("\ud800", "") for text in batch]
    gate_T = rule.gate(Codes(batch))
    assert gate_T.shape == (len(batch),)
    return [text for text, gate in zip(batch, gate_T, strict=True) if not gate and rule.apply(text) != text]


@pytest.mark.parametrize("rule", BY_NAME.values(), ids=BY_NAME.keys())
def test_a_gate_misses_no_two_pieces(rule: Rule) -> None:
    pairs = [first + second for first in PIECES for second in PIECES]
    assert missed(rule, pairs + [f"中{pair}文" for pair in pairs]) == []


@pytest.mark.parametrize("rule", BY_NAME.values(), ids=BY_NAME.keys())
@settings(max_examples=150, deadline=None)
@given(batch=batches)
def test_a_gate_never_misses_a_text(rule: Rule, batch: list[str]) -> None:
    assert missed(rule, batch) == []


def in_sequence(text: str, rules: tuple[Rule, ...]) -> str:
    """What `mend` does, without gates and batches: plain enough to believe."""
    for _ in range(ROUNDS):
        before = text
        for rule in rules:
            text = rule.apply(text)
        if text == before:
            break
    return text


@pytest.mark.parametrize("rules", SETS, ids=[*PROFILES, "bare prose"])
@settings(max_examples=600, deadline=None)
@given(batch=batches)
@example(batch=["&amp;lt;br&amp;gt;", ""])
@example(batch=["於戲，於潛"])
def test_mending_is_the_rules_in_sequence_and_twice_is_once(rules: tuple[Rule, ...], batch: list[str]) -> None:
    mended = mend(batch, rules)
    assert mended == [in_sequence(text, rules) for text in batch]
    assert mend(mended, rules) == mended
    for text in mended:
        text.encode()


@settings(max_examples=500, deadline=None)
@given(batch=batches)
def test_no_rule_does_harm_even_to_nonsense(batch: list[str]) -> None:
    notes = Notes()
    mend(batch, ALL, notes)
    assert notes.ledger.harm(ALL) == []
