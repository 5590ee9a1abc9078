"""The chat loop: lines from a keyboard or a pipe come in, streamed answers go out.

On a terminal: a prompt with history and editing, Ctrl-C while it answers stops the answer, Ctrl-C or Ctrl-D at the
prompt leaves. From a pipe: each line is asked, each answer printed, the end of the input is the end.
"""

from __future__ import annotations

import io
import locale
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from pipeline.serve.config import ChatConfig
from pipeline.serve.find import newest_model
from utils.console import Stopped, UserError, tell
from utils.memory import kept_for_good
from utils.published import check

NEW = ("/new", "/新", "/重来", "/新对话")
HELP = ("/help", "/?", "/帮助")
QUIT = ("/quit", "/exit", "/q", "/退出", "/再见")
PROMPT = "› "


def chat(config: ChatConfig) -> None:
    """Talk: once, or until the person leaves."""
    accept_any_text()
    if config.once is not None and not config.once.strip():
        raise UserError("--once: nothing is said; give it some text")
    folder = Path(config.model) if config.model else newest_model()
    check(folder)  # before torch is loaded, which takes seconds
    with kept_for_good():
        from pipeline.serve.session import Session

    session = Session.open(folder, config)
    if not config.model:
        print(tell(f"({folder} speaks)", f"（{folder} 作答）"), file=sys.stderr, flush=True)
    if config.once is None and sys.stdin.isatty():
        talk(session, folder)
        return
    for line in [config.once] if config.once is not None else piped_lines():
        if config.once is None and line.lower() in NEW:
            session.new()
        elif config.once is None and line.lower() in QUIT:
            break
        elif not answer(session.say(line)):
            leave_by_signal()


def accept_any_text() -> None:
    """Whatever bytes a terminal or pipe holds are read, and whatever is said is written."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def piped_lines() -> Iterator[str]:
    """The lines of standard input that say something."""
    for line in sys.stdin:
        if text := line.strip():
            yield text


def answer(pieces: Iterator[str]) -> bool:
    """Print an answer as it grows; False if the person broke it off."""
    try:
        for piece in pieces:
            print(piece, end="", flush=True)
    except KeyboardInterrupt:
        print(flush=True)
        return False
    print(flush=True)
    return True


# ---------------------------------------------------------------- on a terminal


def talk(session, folder: Path) -> None:  # type: ignore[no-untyped-def]  # Session would load torch here
    """Prompt, answer, until the person leaves."""
    enable_editing()
    greet(session, folder)
    while True:
        try:
            text = input(prompt()).strip()
        except EOFError:
            print()
            return bye()
        except KeyboardInterrupt:
            print()
            leave_by_signal()
        if not text:
            continue
        if text.startswith("/"):
            if text.lower() in QUIT:
                return bye()
            command(text.lower(), session)
            continue
        print(styled(tell("Yaya  ", "牙牙  "), "32"), end="", flush=True)
        if not answer(session.say(text)):
            print(styled(tell("(stopped)", "（已打断）"), "2"))


def command(text: str, session) -> None:  # type: ignore[no-untyped-def]
    """A line that begins with a slash."""
    if text in NEW:
        session.new()
        print(styled(tell("(a new conversation)", "（新的对话）"), "2"))
    elif text in HELP:
        print(help_lines())
    else:
        print(styled(tell(f"{text}: no such command; /help lists them", f"{text}：没有这个命令，/help 可查看"), "2"))


def greet(session, folder: Path) -> None:  # type: ignore[no-untyped-def]
    """Who is there, and how to leave."""
    size = sum(p.numel() for p in session.model.parameters()) / 1e6
    print(styled(f"{folder}  {tell(f'{size:.1f} M parameters', f'{size:.1f} M 参数')}", "2"))
    if session.base:
        print(
            tell(
                "Only pretrained: it goes on with what you write, and does not chat.",
                "只经过预训练：它会接着你的话往下写，不会对话。",
            )
        )
    print(
        styled(
            tell("/new forgets · /help · /quit or Ctrl-D leaves", "/new 新对话 · /help 帮助 · /quit 或 Ctrl-D 离开"),
            "2",
        )
    )


def help_lines() -> str:
    """The commands."""
    return tell(
        "/new    forget the conversation and begin another\n/help   this list\n/quit   leave (also Ctrl-D)\n"
        "Ctrl-C while it answers stops the answer.",
        "/new   （/新对话）忘掉刚才的话，重新开始\n/help  （/帮助）显示这些命令\n/quit  （/退出）离开，也可按 Ctrl-D\n"
        "回答时按 Ctrl-C 打断它。",
    )


def leave_by_signal() -> NoReturn:
    """Asked to stop where there is nothing else to stop."""
    raise Stopped(tell("bye", "再见"), signal.SIGINT) from None


def bye() -> None:
    """The last word."""
    print(tell("bye", "再见"))


def colourful() -> bool:
    """Colour only where someone sees it, and has not asked for none."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def styled(text: str, code: str) -> str:
    """Text in a terminal's style, by its SGR number."""
    return f"\x1b[{code}m{text}\x1b[0m" if colourful() else text


def prompt() -> str:
    """Marked for readline, which otherwise counts colours as width and breaks long Chinese lines."""
    return f"\x01\x1b[1;36m\x02{PROMPT}\x01\x1b[0m\x02" if colourful() and "readline" in sys.modules else PROMPT


def enable_editing() -> None:
    """History, cursor keys and whole-character deletion, where Python was built with them (not on Windows)."""
    read_keys_as_utf8()
    try:
        import readline  # noqa: F401
    except ImportError:
        return


def read_keys_as_utf8() -> None:
    """If LC_ALL names a locale that is not installed, readline would take the bytes of a Chinese character as keys."""
    try:
        locale.setlocale(locale.LC_CTYPE, "")
    except locale.Error:
        wanted = os.environ.pop("LC_ALL", "")
        os.environ |= {"LC_CTYPE": "C.UTF-8", "LC_MESSAGES": wanted or os.environ.get("LC_MESSAGES", "")}
