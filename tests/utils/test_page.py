"""The reports' look: everything escaped, nothing from outside, charts that say what the numbers say."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from utils.charts import bars, curves, histogram, linear_ticks, log_ticks, smoothed, thinned
from utils.page import Answer, Html, Section, escape, facts, folded, meter, number, page, paragraph, qa, table

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
