"""What a page shows of a run: bounded for any number of steps, faithful to spikes, renewed while the run goes on."""

from __future__ import annotations

import random
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.train import log as logs
from pipeline.train.checkpoints import State
from pipeline.train.log import Log
from pipeline.train.report import REPORT, write
from pipeline.train.story import MOST_PIECES, MOST_SAMPLES, Curve, Story, spread
from tests.train.test_log import a_line
from utils.charts import Mark, curves


def test_a_curve_of_any_length_is_bounded_and_keeps_its_spike() -> None:
    dice, curve = random.Random(0), Curve()
    values = [dice.gauss(3, 0.1) for _ in range(123_457)]
    values[77_777] = 9.0
    for step, value in enumerate(values):
        curve.add(step, value)
    assert MOST_PIECES / 2 <= len(curve.means()) <= MOST_PIECES
    assert (77_777, 9.0) in curve.outline()
    assert min(y for _, y in curve.outline()) == min(values)
    assert [x for x, _ in curve.means()] == sorted(x for x, _ in curve.means())
    assert sum(y for _, y in curve.means()) / len(curve.means()) == pytest.approx(3, abs=0.01)


def test_a_short_curve_is_its_points() -> None:
    curve = Curve()
    for step, value in [(1, 2.0), (2, None), (3, float("inf")), (4, 1.0)]:
        curve.add(step, value)
    assert curve.means() == curve.outline() == [(1, 2.0), (4, 1.0)]


def test_of_many_samples_some_are_kept_the_first_and_the_newest_among_them() -> None:
    story = Story()
    for step in range(1, 1001):
        story.add_sample({"step": step, "prompt": "a", "text": str(step)})
    assert len(story.samples["a"]) <= 2 * MOST_SAMPLES
    shown = spread(story.samples["a"])
    assert len(shown) == MOST_SAMPLES
    assert (shown[0][0], shown[-1][0]) == (1000, 1)
    assert all(text == str(step) for step, text in shown)


def a_story() -> Story:
    story = Story()
    for step in range(1, 41):
        story.add(a_line(step, loss=9.0 if step == 20 else 3.0))
    story.add({"step": 20, "event": "spike", "ids": [[f"wiki/<a>/{number}"] for number in range(99)]})
    story.add({"step": 21, "event": "rolled_back", "to": 20})
    story.add({"step": 30, "bpb": {"wiki": 1.5, "web": 2.5, "all": 2.0}})
    story.add_sample({"step": 30, "prompt": "从前", "text": "有一座<b>山</b>"})
    return story


@pytest.mark.parametrize(("locale", "words"), [("C", "What befell the run"), ("zh_CN.UTF-8", "运行中的事件")])
def test_the_page_shows_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locale: str, words: str) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    path = tmp_path / "mine" / "pretrain" / REPORT
    path.parent.mkdir(parents=True)
    write(path, "pretrain", a_story(), 100, ended=False)
    text = path.read_text(encoding="utf-8")
    assert text.count('<svg class="chart"') == 7  # six of a step's line, one of held-out text
    assert text.count('<g class="mark c6">') == 2
    for shown in (words, "wiki/&lt;a&gt;/0", "(99)", "从前", "有一座&lt;b&gt;山&lt;/b&gt;", "web", ">2<"):
        assert shown in text
    assert 'http-equiv="refresh"' in text
    write(path, "pretrain", a_story(), 100, ended=True)
    assert 'http-equiv="refresh"' not in path.read_text(encoding="utf-8")
    assert [one.name for one in path.parent.iterdir()] == [REPORT]


def test_marks_stand_where_they_belong() -> None:
    drawn = curves({"loss": [(0, 1.0), (100, 2.0)]}, marks=[Mark(50, "middle", "c1"), Mark(101, "beyond")])
    assert re.findall(r'<g class="mark (c\d)"><line x1="([\d.]+)"', drawn) == [("c1", "386.0")]
    assert "middle" in drawn
    assert curves({"a": [(0, 0.0), (9999, 1.0)]}, marks=[Mark(i, "x") for i in range(9999)]).count("mark") <= 101


def test_the_page_is_drawn_while_it_trains_and_costs_no_more_than_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock of its own: a step takes 0.1 s, drawing 0.04 s or 0.2 s."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    now, drawn, takes = [0.0], [], [0.04]

    def draw(*_: object) -> None:
        drawn.append(now[0])
        now[0] += takes[0]

    monkeypatch.setattr(logs, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(logs.report, "write", draw)
    log = Log(tmp_path, "pretrain", "yaya", State(), 10_000, {})

    def train(seconds: float, looks: bool) -> list[float]:
        del drawn[:]
        until = now[0] + seconds
        while now[0] < until:
            now[0] += 0.1
            log.step(a_line(1))
            if looks:
                log.held_out(1, {"all": 1.0})
        return drawn

    assert 4 <= len(train(121, looks=False)) <= 5, "every 30 s, and once at the beginning"
    assert 5 <= len(train(121, looks=True)) <= 7, "something new each time: but 0.04 s are paid for with 20 s"
    takes[0] = 0.2
    train(100, looks=True)
    assert 5 <= len(train(600, looks=True)) <= 7, "0.2 s with 100 s"
    log.close()
    assert now[0] - 0.2 == drawn[-1], "and at the end"
