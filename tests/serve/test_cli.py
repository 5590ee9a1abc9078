"""`cli_demo.py` as a person or a script runs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cli_demo
from tests.conftest import TAUGHT
from utils.codec import Codec
from utils.console import UserError
from utils.encoders import SPM

ROOT = Path(__file__).parents[2]
ENV = os.environ | {"OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8", "LANG": "en_US.UTF-8", "RANK": "0"}


def run(*words: str | bytes, stdin: bytes = b"", cwd: Path = ROOT) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, str(ROOT / "cli_demo.py"), *words]
    return subprocess.run(command, input=stdin, capture_output=True, env=ENV, cwd=cwd, timeout=120)


def one_line(done: subprocess.CompletedProcess[bytes], *words: str) -> None:
    """The user's mistake: exit code 2, one line on stderr, nothing on stdout."""
    text = done.stderr.decode()
    assert done.returncode == 2, text
    assert done.stdout == b""
    assert (text.count("\n"), text[:7]) == (1, "error: "), text
    assert all(word in text for word in words), text


def test_once_prints_the_answer_and_nothing_else(taught_model: Path) -> None:
    done = run("--model", str(taught_model), "--once", "你好！")
    assert done.stdout.decode() == TAUGHT["你好！"] + "\n"
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "text", ["3", "1e5", "True", "None", "[1]", "--help", "-h", "--", "-", "'", '"', "\udcff", " x "]
)
def test_once_takes_any_text(text: str, taught_model: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["cli_demo.py", f"--model={taught_model}", "--max_new_tokens=4", "--once", text])
    cli_demo.main()
    captured = capsys.readouterr()
    assert captured.out.strip()
    assert captured.err == ""


def test_lines_from_a_pipe_are_answered_to_the_end(taught_model: Path) -> None:
    lines = [
        b"",
        b"\xff\xfe\x80",
        "水？".encode(),
        b"/new",
        "水？".encode(),
        b"x" * 100_000,
        b"\x00\x1b",
        b"/quit",
        b"never",
    ]
    done = run("--model", str(taught_model), "--max_new_tokens=30", stdin=b"\n".join(lines))
    answers = done.stdout.decode().splitlines()
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert len(answers) == 5
    assert answers[2] == TAUGHT["水？"]
    assert done.stderr.count(b"warning") == 2  # too long, and turns forgotten


def test_mistakes_are_told_in_one_line(taught_model: Path, tmp_path: Path) -> None:
    one_line(run(cwd=tmp_path), "make demo", "--model")
    one_line(run("--model", "nowhere"), "nowhere", "no such folder")
    one_line(run("--temprature=1"), "--temprature", "did you mean --temperature?")
    one_line(run("--once", " "), "--once")
    for name, word in (("model.safetensors", "no weights"), (SPM, "no tokenizer"), ("config.json", "no config.json")):
        folder = tmp_path / name / "model"
        shutil.copytree(taught_model, folder)
        (folder / name).unlink()
        one_line(run("--model", str(folder), "--once", "x"), str(folder), word)


def test_damaged_weights_are_told_in_one_line(taught_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(taught_model, folder)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    one_line(run("--model", str(folder), "--once", "x"), str(folder))


def test_help_needs_no_model(tmp_path: Path) -> None:
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert b"--max_new_tokens=256" in done.stdout
    assert done.stderr == b""


# ---------------------------------------------------------------- on a terminal


@pytest.fixture(scope="module")
def talkative_model(tiny_tokenizer: Path, codec: Codec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new model says one token again and again: an answer long enough to be broken off."""
    import model as families

    shape = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "max_position_embeddings": 100_000}
    folder = tmp_path_factory.mktemp("talkative") / "model"
    families.build(families.family_config("gpt", shape | {"vocab_size": codec.vocab_size})).save_pretrained(folder)
    shutil.copyfile(tiny_tokenizer / SPM, folder / SPM)
    return folder


class Terminal:
    """The program on a terminal of its own."""

    def __init__(self, *words: str, **variables: str):
        import pty

        self.pid, self.file = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.execve(sys.executable, [sys.executable, "cli_demo.py", *words], ENV | {"TERM": "dumb"} | variables)
        self.read = b""

    def until(self, words: str, seconds: float = 90) -> str:
        """Read on until these words have come; what came with them."""
        import select

        end, start = time.monotonic() + seconds, len(self.read)
        while words.encode() not in self.read[start:]:
            assert time.monotonic() < end, f"{words!r} did not come: {self.read[-2000:]!r}"
            if select.select([self.file], [], [], 0.2)[0]:
                self.read += os.read(self.file, 65536)
        time.sleep(0.3)  # Python's readline misses a signal between drawing the prompt and waiting for keys
        return self.read[start:].decode()

    def type(self, text: str) -> None:
        os.write(self.file, text.encode())

    def code(self, seconds: float = 30) -> int:
        """Wait for its end."""
        end = time.monotonic() + seconds
        while True:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < end, f"it did not end: {self.read[-2000:]!r}"
            time.sleep(0.05)

    def kill(self) -> None:
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(self.file)


@pytest.fixture
def terminal():
    opened: list[Terminal] = []

    def start(*words: str, **variables: str) -> Terminal:
        opened.append(Terminal(*words, **variables))
        return opened[-1]

    yield start
    for one in opened:
        one.kill()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals of this kind")
def test_ctrl_c_stops_an_answer_and_ctrl_d_leaves(talkative_model: Path, terminal) -> None:
    screen = terminal("--model", str(talkative_model), "--max_new_tokens=50000")
    greeting = screen.until("› ")
    assert str(talkative_model) in greeting.replace("\r\n", "")
    assert "/quit" in greeting
    screen.type("/help\n")
    assert "Ctrl-C" in screen.until("answer.\r\n› ")
    screen.type("/nwe\n")
    assert "no such command" in screen.until("lists them\r\n› ")
    screen.type("\n")
    screen.until("› ")
    screen.type("你好\n")
    screen.until("Yaya  ")
    time.sleep(0.5)
    screen.type("\x03")
    screen.until("(stopped)\r\n› ")
    screen.type("/new\n")
    screen.until("(a new conversation)\r\n› ")
    screen.type("\x04")
    assert screen.code() == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals of this kind")
def test_chinese_is_typed_under_a_locale_that_is_not_installed(taught_model: Path, terminal) -> None:
    screen = terminal("--model", str(taught_model), LC_ALL="zh_XX.UTF-8")
    screen.until("› ")
    screen.type("天气好吗？\n")
    assert "今天天气很好，我们去公园散步。" in screen.until("散步。")
    screen.type("\x04")
    assert screen.code() == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals of this kind")
def test_ctrl_c_at_the_prompt_leaves_with_130(taught_model: Path, terminal) -> None:
    screen = terminal("--model", str(taught_model))
    screen.until("› ")
    screen.type("\x03")
    screen.until("bye")
    assert screen.code() == 130


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_ends_a_script_with_130(talkative_model: Path) -> None:
    command = [sys.executable, "cli_demo.py", "--model", str(talkative_model), "--once", "x", "--max_new_tokens=50000"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV, cwd=ROOT)
    assert child.stdout is not None
    assert child.stdout.read(1)  # it speaks
    child.send_signal(signal.SIGINT)
    _, told = child.communicate(timeout=60)
    assert child.returncode == 130
    assert b"Traceback" not in told


@pytest.mark.parametrize(
    "word",
    ["threads=-1", "threads=99999999999", f"seed={1 << 63}", "seed=-1", "top_p=nan", "temperature=inf"],
)
def test_numbers_out_of_bounds_are_told(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["cli_demo.py", f"--{word}"])
    with pytest.raises(UserError, match=f"--{word.partition('=')[0]}(=.* must be|: expected a number)"):
        cli_demo.main()


def test_code_in_a_model_folder_never_runs(taught_model: Path, tmp_path: Path) -> None:
    folder, ran = shutil.copytree(taught_model, tmp_path / "model"), tmp_path / "ran"
    auto_map = {"AutoConfig": "configuration_other.OtherConfig", "AutoModelForCausalLM": "configuration_other.Other"}
    (folder / "config.json").write_text(json.dumps({"model_type": "yaya_lstm", "auto_map": auto_map}))
    (folder / "configuration_other.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    one_line(run("--model", str(folder), stdin=b"y\ny\n"), "'yaya_lstm'", "yaya_gpt")
    assert not ran.exists()
