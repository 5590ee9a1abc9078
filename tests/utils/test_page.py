"""The reports' look: everything escaped, nothing from outside, charts that say what the numbers say."""

from __future__ import annotations

import math
import re
import time
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from utils.charts import (
    Stack,
    bars,
    curves,
    histogram,
    linear_ticks,
    log_ticks,
    small_histogram,
    smoothed,
    stacks,
    thinned,
)
from utils.page import (
    Answer,
    Excerpt,
    Html,
    Section,
    changes,
    escape,
    excerpts,
    facts,
    folded,
    meter,
    number,
    page,
    paragraph,
    qa,
    table,
)

EVIL = "<script>alert('x')</script>\"&\x00\ud800"
EMPTY = {"meta", "br", "hr", "img", "link", "input"}


class Balance(HTMLParser):
    """Reads a page as a browser would and remembers what it holds."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1:] == [tag], f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()


def full_page() -> str:
    """Every block there is, each fed with text that wants to be markup."""
    series = {EVIL: [(i, 2.0 / i) for i in range(1, 40)], "b": [(1, 1.0), (30, 0.5)]}
    answers = [Answer(EVIL, EVIL, EVIL + "!", False, EVIL), Answer(EVIL, "", None, True)]
    blocks = [
        paragraph(EVIL),
        facts({EVIL: (EVIL, EVIL), "n": 12345}),
        table([EVIL, "n"], [[EVIL, 3], [EVIL, 4]], EVIL),
        table(["share", ""], [["50 %", meter(0.5, 0.4, 0.6)]]),
        qa(answers),
        folded(EVIL, qa(answers)),
        curves(series, EVIL, EVIL, smooth=True),
        bars({EVIL: 3.0, "b": 1.0}, EVIL),
        histogram([1.0, 2.0, 2.5], EVIL, EVIL),
        stacks([Stack(EVIL, EVIL, [(EVIL, 3, EVIL), ("b", 0, EVIL)])], {EVIL: "c0"}, EVIL),
        small_histogram([EVIL, "b", "c"], [3, 0], [1, 0], (EVIL, EVIL), [EVIL]),
        excerpts([Excerpt(EVIL, [EVIL, "b"]), Excerpt(" ")]),
        changes(EVIL, f"{EVIL}!{EVIL}"),
        EVIL,
    ]
    return page(EVIL, [Section(EVIL, blocks, EVIL), Section("two", ["x"]), Section("three", ["y"])], EVIL)


def test_a_page_escapes_everything_and_stands_alone() -> None:
    text = full_page()
    text.encode("utf-8")
    read = Balance(text)
    assert read.open == []
    assert "script" not in read.tags
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 15
    assert all(link.startswith("#") for link in read.links), read.links
    assert not re.search(r"@import|url\(|https?://", text)


def test_only_html_is_trusted() -> None:
    assert escape("<b>") == "&lt;b&gt;"
    assert escape(Html("<b>")) == "<b>"
    assert "<b>bold</b>" in table(["x"], [[Html("<b>bold</b>")]])


@pytest.mark.parametrize(("language", "wanted"), [("zh_CN.UTF-8", 'lang="zh-CN"'), ("en_US.UTF-8", 'lang="en"')])
def test_the_page_speaks_the_locale(language: str, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LC_MESSAGES", raising=False)
    monkeypatch.setenv("LC_ALL", language)
    assert wanted in page("t", [])


def test_numbers_read_well() -> None:
    assert [number(v) for v in (1234567, 0.123456, 12.0, 4321.27, True, "a")] == [
        "1,234,567", "0.1235", "12", "4,321.3", "True", "a",
    ]  # fmt: skip
    assert number(math.nan) == "nan"


def test_columns_of_figures_stand_to_the_right() -> None:
    text = table(["name", "n", "share"], [["a", 1, "0.5 %"], ["b", None, "1,234"]])
    assert '<th>name</th><th class="n">n</th><th class="n">share</th>' in text
    assert '<td class="n">–</td>' in text


def test_an_answer_stands_beside_what_was_expected_only_if_they_differ() -> None:
    assert 'class="pair"' in qa([Answer("q", "a", "b", False)])
    assert 'class="pair"' not in qa([Answer("q", "a", "a", True)])
    assert "✓" in qa([Answer("q", "a", "a", True)])
    assert "✗" in qa([Answer("q", "a", "b", False)])
    assert "✓" not in qa([Answer("q", "a")])


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1.3, 7.9), (-4, 3e6), (0.00012, 0.0009), (99.99, 100.01)])
def test_ticks_are_round_few_and_inside(low: float, high: float) -> None:
    ticks = linear_ticks(low, high, 5)
    assert 3 <= len(ticks) <= 11
    assert all(low - 1e-9 <= t <= high + 1e-9 for t in ticks)
    steps = {round((b - a) / (ticks[1] - ticks[0]), 6) for a, b in pairwise(ticks)}
    assert steps == {1.0}


def test_log_ticks_are_powers() -> None:
    assert log_ticks(1, 1e6) == [10.0**p for p in range(7)]
    assert log_ticks(1, 50) == [1, 2, 5, 10, 20, 50]


def test_smoothing_keeps_a_line_and_calms_noise() -> None:
    line = [(float(i), 3.0 * i) for i in range(200)]
    assert all(abs(a[1] - b[1]) < 1e-6 for a, b in zip(smoothed(line)[:190], line[:190], strict=True))
    noisy = [(float(i), float(i % 2)) for i in range(1000)]
    assert all(abs(y - 0.5) < 0.06 for _, y in smoothed(noisy)[100:900])


def test_thinning_keeps_the_spike() -> None:
    points = [(float(i), 1.0) for i in range(10_000)]
    points[7_777] = (7_777.0, 99.0)
    thin = thinned(points)
    assert len(thin) <= 502
    assert (7_777.0, 99.0) in thin
    assert thin == sorted(thin)


def test_a_curve_leaves_out_what_cannot_be_drawn() -> None:
    drawn = curves({"loss": [(1, 2.0), (2, math.nan), (3, math.inf), (4, 1.0), (0, 5.0)]}, log_x=True)
    places = re.findall(r'<polyline class="line" points="([^"]+)"', drawn)
    assert len(places) == 1
    assert len(places[0].split()) == 2
    assert "nan" not in drawn
    assert "inf" not in drawn
    assert "<polyline" not in curves({"loss": []})
    assert "<polyline" not in curves({})
    assert "<circle" in curves({"loss": [(5, 1.0)]})


def test_a_curve_goes_down_where_the_loss_does() -> None:
    drawn = curves({"loss": [(i, 10.0 - i) for i in range(10)]})
    match = re.search(r'<polyline class="line" points="([^"]+)"', drawn)
    assert match is not None
    heights = [float(place.split(",")[1]) for place in match.group(1).split()]
    assert heights == sorted(heights)
    assert heights[0] < heights[-1]


def test_a_histogram_counts_every_value() -> None:
    drawn = histogram([1.0] * 7 + [2.0] * 5 + [math.nan], bins=4)
    counts = [int(label.rpartition(": ")[2]) for label in re.findall(r"<title>([^<]+)</title>", drawn)]
    assert sum(counts) == 12
    assert counts[0] == 7
    assert counts[-1] == 5


def test_stacks_are_of_one_length_and_leave_out_what_is_nothing() -> None:
    drawn = stacks([Stack("a", "", [("x", 30, "X"), ("y", 10, "Y"), ("z", 0, "Z")])], {"X": "c0", "Y": "c1", "Z": "c2"})
    assert [float(share) for share in re.findall(r"flex-grow:([0-9.]+)", drawn)] == [0.75, 0.25]
    assert "y: 10 (25.0%)" in drawn
    assert "Z" not in drawn
    assert "flex-grow" not in stacks([Stack("nothing", "", [("x", 0, "X")])], {"X": "c0"})


def test_a_small_histogram_names_every_bin_and_shows_the_rare() -> None:
    drawn = small_histogram(["0", "10", "100"], [1_000_000, 5, 1], [900_000, 5, 0], ("read", "kept"), ["10"])
    assert re.findall(r"<title>([^<]+)</title>", drawn) == [
        "0 – 10: read 1,000,000, kept 900,000", "10 – 100: read 5, kept 5", "≥ 100: read 1, kept 0",
    ]  # fmt: skip
    assert re.findall(r"<text[^>]*>([^<]+)</text>", drawn) == ["10"]
    seen = [float(height) for height in re.findall(r'class="behind"[^/]*height="([0-9.]+)"', drawn)]
    assert all(height > 1 for height in seen)
    small_histogram([], [], [], ("read", "kept"), [])


def test_what_changed_is_marked_and_the_rest_is_not() -> None:
    assert changes("今天，很好", "今天,很好") == "今天<del>，</del><ins>,</ins>很好"
    assert changes("same", "same") == "same"
    assert changes("", "new") == "<ins>new</ins>"
    assert changes("old", "") == "<del>old</del>"
    assert changes("", "") == ""


def test_what_nobody_sees_is_named_where_it_changed() -> None:
    assert changes("a b\u200b", "a b") == "a b<del><code>U+200B</code></del>"
    assert changes("a \n", "a") == "a<del>␣⏎\n</del>"
    assert changes("\u202eabc", "abc") == "<del><code>U+202E</code></del>abc"


def test_changes_read_as_words() -> None:
    assert changes("the cat sat", "the dog sat") == "the <del>cat</del><ins>dog</ins> sat"
    assert changes("一二三四五", "六七三八九") == "<del>一二三四五</del><ins>六七三八九</ins>"


def test_long_stretches_without_a_change_are_cut() -> None:
    before = "始" + "甲" * 500 + "乙" + "丙" * 500 + "终"
    shown = changes(before, before.replace("乙", "丁"), context=5)
    cut = '<span class="cut">⋯</span>'
    assert shown == f"{cut}甲甲甲甲甲<del>乙</del><ins>丁</ins>丙丙丙丙丙{cut}"


def test_where_an_excerpt_was_cut_is_no_change() -> None:
    assert changes("一二三四五…", "一，二三四…", unfinished=True) == "一<ins>，</ins>二三四…"
    assert changes("一二三四五", "一二三四", unfinished=True) == "一二三四<del>五</del>"


def test_texts_of_few_letters_are_compared_in_time() -> None:
    started = time.monotonic()
    before, after = "哈呵" * 2000, "呵" + "哈哈呵" * 1300
    shown = changes(before, after)
    assert time.monotonic() - started < 5
    assert Balance(shown).open == []
