"""Talk to a trained model in the terminal: `python cli_demo.py [--model DIR] [--once "你好"]`; see --help."""

from __future__ import annotations

import sys
from typing import Any

from pipeline.serve.config import ChatConfig
from pipeline.serve.flags import HELP, literal_words, option_help
from pipeline.serve.terminal import chat
from utils.console import run_program


def talk(**options: Any) -> None:
    """Fire's door: the options of `ChatConfig`."""
    chat(ChatConfig(**options))


def main() -> None:
    """Print the help, or hand the checked words to Fire."""
    words = literal_words(sys.argv[1:], ChatConfig, "cli_demo.py")
    if words == [HELP[0]]:
        print(option_help(ChatConfig, "python cli_demo.py"))
        return
    import fire

    fire.Fire(talk, command=words, name="cli_demo.py")


if __name__ == "__main__":
    run_program(main)
