"""Logs: metrics as promised, a line for people that fits, the time left; wandb by choice, never asking or waiting."""

from __future__ import annotations

import json
import resource
import signal
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.train import lines, wandb_run
from pipeline.train.checkpoints import State
from pipeline.train.log import METRICS, SAMPLES, Log, Pace, duration, short_power, thousands, told
from tests.commands import metrics, train

PROMISED = {"step", "loss", "lr", "grad_norm", "tokens", "consumed", "tokens_per_second", "mfu", "wait", "memory_gb",
            "seconds"}  # fmt: skip


def test_every_step_has_its_line(runs: Callable[..., Path]) -> None:
    found = metrics(runs("single"))
    assert all(set(line) >= PROMISED for line in found)
    assert [line["consumed"] for line in found] == [6 * i for i in range(1, 31)]
    assert all(0 < line["mfu"] < 1 and 0 <= line["wait"] < 0.5 for line in found[1:])
    assert ["eta_seconds" in line for line in found] == [False] * 4 + [True] * 26
    assert found[-1]["eta_seconds"] == 0


# ---------------------------------------------------------------- what a person reads


def a_line(step: int, **more: float) -> dict[str, float]:
    figures = {"loss": 2.5, "lr": 1e-3, "grad_norm": 0.5, "tokens": 9, "consumed": 9, "tokens_per_second": 12_345.6,
               "mfu": 0.41, "wait": 0.002, "memory_gb": 3.1, "seconds": 0.5}  # fmt: skip
    return {"step": step, **figures, **more}


@pytest.fixture(params=["C", "zh_CN.UTF-8"])
def language(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("LANGUAGE", raising=False)
    monkeypatch.setenv("LC_ALL", request.param)
    return str(request.param)


def test_a_line_says_all_and_fits(language: str) -> None:
    line = a_line(1, loss=10.123, grad_norm=12.3, tokens_per_second=1.234e6, memory_gb=78.12, wait=0.0123)
    said = told(line, 45_240)
    for figure in ("10.123", "1.0e-3", "12.30", "1.23M", "41%", "1.2%", "78.1 GB", "12h34m"):
        assert figure in said
    assert "peak" in said or "峰值" in said
    row = f"  pretrain: 123,456/200,000  {said}"
    assert sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in row) <= 120, row


def test_numbers_are_short() -> None:
    assert [thousands(v) for v in (0, 734.4, 999.6, 12_345, 999_700, 1.234e6)] == [
        "0", "734", "1.00k", "12.3k", "1.00M", "1.23M"]  # fmt: skip
    assert [short_power(v) for v in (1e-3, 2.34e-5, 0.0, 1.5)] == ["1.0e-3", "2.3e-5", "0.0e0", "1.5e0"]
    assert [duration(s) for s in (0, 65, 3599.7, 3600, 12_300, 86_399, 190_000)] == [
        "0:00", "1:05", "1h00m", "1h00m", "3h25m", "1d00h", "2d05h"]  # fmt: skip


def test_the_time_left_counts_a_save_once_and_a_slow_start_hardly() -> None:
    pace, now = Pace(), 100.0
    assert pace.left(10) is None
    for number in range(60):
        seconds = 30.0 if number == 0 else 2.0
        now += seconds
        pace.step(seconds, now)
        assert (pace.left(10) is None) == (number < 4)
        if number % 10 == 0:
            now += 5.0  # a save, which no step's seconds hold
    now += 5.0
    assert pace.left(100) == pytest.approx(100 * (2.0 + 30 / 60))


# ---------------------------------------------------------------- the files


def a_log(folder: Path, step: int = 0, total: int = 100) -> Log:
    return Log(folder, "pretrain", "yaya", State(step=step), total, {})


def test_a_look_names_every_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    log = a_log(tmp_path)
    log.held_out(3, {"wiki": 1.25, "web": 2.5, "all": 2.0})
    log.held_out(6, {"wiki": 1.0, "all": 1.0})
    log.close()
    first, second = capsys.readouterr().out.splitlines()
    assert all(figure in first for figure in ("2.000", "wiki 1.250", "web 2.500"))
    assert "wiki" not in second, "one source alone is all of them"
    assert next(lines.read(tmp_path / METRICS))["bpb"] == {"wiki": 1.25, "web": 2.5, "all": 2.0}


def test_what_lies_beyond_the_checkpoint_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of steps, looks and samples; a roll-back stays with the step it went to."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(lines, "BLOCK", 100)  # less than a line
    log = a_log(tmp_path)
    for step in range(1, 8):
        log.step(a_line(step))
    log.samples(5, [("牙", "牙学语"), ("b", "c")])
    log.samples(7, [("牙", "牙")])
    log.event(7, "spike", ids=[["wiki/a/1"]])
    log.go_back(5)
    log.event(7, "rolled_back", to=5)
    log.step(a_line(6))
    log.close()
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 7, "lo')  # cut by a kill
    a_log(tmp_path, step=5).close()
    kept = [(line["step"], line.get("event")) for line in lines.read(tmp_path / METRICS)]
    assert kept == [*((step, None) for step in range(1, 6)), (7, "rolled_back"), (5, "resumed")]
    assert [line["text"] for line in lines.read(tmp_path / SAMPLES)] == ["牙学语", "c"]


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 16])
@pytest.mark.parametrize("ending", ["", "\n", "\n{", '\n{"step": 1}', "\n\n"])
def test_a_file_is_cut_as_by_reading_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, ending: str
) -> None:
    monkeypatch.setattr(lines, "BLOCK", block)
    path = tmp_path / "a.jsonl"
    whole = [json.dumps({"step": step, "text": "牙" * step}, ensure_ascii=False) for step in (1, 2, 2, 3, 5, 8)]
    for step in range(10):
        path.write_text("\n".join(whole) + ending, encoding="utf-8")
        lines.forget_beyond(path, step)
        left = [text for text in (whole if ending else whole[:-1]) if json.loads(text)["step"] <= step]
        assert [json.dumps(line, ensure_ascii=False) for line in lines.read(path)] == left
        assert path.read_bytes()[-1:] in (b"", b"\n"), "what is written next begins a line"


def test_lines_that_nobody_wrote_keep_no_run_from_going_on(tmp_path: Path) -> None:
    log = a_log(tmp_path)
    for step in range(1, 4):
        log.step(a_line(step))
    log.samples(3, [("牙", "牙学语")])
    log.close()
    odd = [
        '{"step": 3, "loss": 3}',
        '{"step": "x"}',
        '{"step": 3, "to": null}',
        '{"step": 3, "event": "spike", "ids": 3}',
        json.dumps({name: value for name, value in a_line(3).items() if name != "tokens"}),
        '{"step": 2, "loss": "x"}',
        "[]",
        "\xff",
    ]
    with (tmp_path / METRICS).open("a", encoding="latin-1") as file:
        file.write("\n".join(odd) + "\n")
    with (tmp_path / SAMPLES).open("a") as file:
        file.write('{"step": 3, "text": "no prompt"}\n')
    log = a_log(tmp_path, step=3)
    log.step(a_line(4))
    log.close()
    assert [step for step, _ in log._story.curves["loss"].means()] == [1, 2, 3, 4]
    assert [event["event"] for event in log._story.events] == ["resumed"]
    assert list(log._story.samples) == ["牙"]


def test_half_a_line_does_not_spoil_the_next(tmp_path: Path) -> None:
    """Where a file may grow no further, a line is written whole or not at all."""
    path, limits = tmp_path / "ids-0.jsonl", resource.getrlimit(resource.RLIMIT_FSIZE)
    lines.append(path, '{"step": 1}\n')
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            lines.append(path, '{"step": 2}\n')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    lines.append(path, '{"step": 3}\n')
    assert path.read_text() == '{"step": 1}\n{"step": 3}\n'


# ---------------------------------------------------------------- wandb


def test_wandb_stays_away_unless_asked(runs: Callable[..., Path]) -> None:
    assert not (runs("single") / "pretrain" / "wandb").exists()


def test_a_key_that_wandb_refuses_is_named_and_the_run_keeps_its_id(workspace: Path) -> None:
    """Refused before any network is asked; recorded offline, and under the same id when the run goes on."""
    began = time.monotonic()
    said = train("single", workspace, "pretrain.max_steps=30", "pretrain.save_every=3", WANDB_API_KEY="nonsense")
    assert said.count("WANDB_API_KEY") <= 2  # ours, and wandb's own word
    assert said.count("warning:") == 1
    assert "recording offline" in said
    assert "nonsense" not in said
    assert len(metrics(workspace)) == 30
    assert time.monotonic() - began < 60
    train("single", workspace, "pretrain.max_steps=33", WANDB_MODE="offline")
    runs = sorted((workspace / "pretrain" / "wandb").glob("offline-run-*"))
    assert len(runs) == 2
    assert len({run.name.rpartition("-")[2] for run in runs}) == 1
    assert all(list(run.glob("*.wandb")) for run in runs)


def test_a_mode_that_wandb_does_not_know_keeps_no_training_from_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "nonsense")
    monkeypatch.setattr("wandb.init", lambda **_: "a run")
    assert wandb_run.open_wandb("yaya", "pretrain", tmp_path, "", {}) == "a run"
    told = capsys.readouterr().err
    assert told.count("warning:") == 1
    assert "wandb (nonsense" in told
    assert "'online', 'offline'" in told


class Broken:
    """A wandb run whose service has died, or whose network has."""

    settings = SimpleNamespace(sync_dir="runs/wandb/offline")

    def log(self, flat: dict[str, float], step: int) -> None:
        raise RuntimeError("the service has died")

    def finish(self) -> None:
        time.sleep(30)


def test_a_wandb_that_fails_on_the_way_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wandb_run, "LAST_WORDS", 0.1)
    assert not wandb_run.sent(Broken(), {"step": 1, "loss": 2.0})
    assert "the service has died" in capsys.readouterr().err
    began = time.monotonic()
    wandb_run.finish(Broken())
    assert time.monotonic() - began < 5
    assert "wandb sync" in capsys.readouterr().err


@pytest.mark.slow  # it waits for the network that is not there
def test_a_key_without_a_network_delays_but_does_not_block(workspace: Path) -> None:
    began = time.monotonic()
    key, nowhere = "a" * 40, "http://127.0.0.1:9"
    said = train("single", workspace, "pretrain.max_steps=3", WANDB_API_KEY=key, WANDB_BASE_URL=nowhere)
    assert len(metrics(workspace)) == 3
    assert "recording offline" in said
    assert time.monotonic() - began < 90
