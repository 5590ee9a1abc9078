"""A run's figures at wandb, by choice alone. It never asks, never waits long, and records offline without a network."""

from __future__ import annotations

import netrc
import os
import threading
from pathlib import Path
from typing import Any

from utils.console import tell, warn
from utils.stage import Json

HOST = "api.wandb.ai"
PATIENCE = 15
"""Seconds that a start may take; training begins behind it."""

LAST_WORDS = 60.0
"""Seconds that the end may take."""


def wants_wandb() -> bool:
    """A key or WANDB_MODE says so; nothing else does."""
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"] != "disabled"
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators(HOST) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def open_wandb(project: str, verb: str, output: Path, run_id: str, recipe: Json) -> Any:
    """A wandb run, or None. Never asks, never waits long: without a network it records offline."""
    if not wants_wandb():
        return None
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    name = f"{output.parent.name}/{verb}"
    modes: list[Any] = [os.environ.get("WANDB_MODE", "online"), "offline"]
    for mode in modes:
        os.environ["WANDB_MODE"] = (
            mode  # wandb reads it whatever the settings say, and refuses one that it does not know
        )
        try:
            settings = wandb.Settings(mode=mode, init_timeout=PATIENCE, login_timeout=5)
            return wandb.init(
                project=project, name=name, id=run_id or None, resume="allow", dir=str(output), config=recipe,
                settings=settings,
            )  # fmt: skip
        except Exception as error:  # whatever keeps wandb from starting must not keep training from it
            instead = tell("off", "不再记录") if mode == "offline" else tell("recording offline", "改为离线记录")
            warn(f"wandb ({mode}, {_key()}): {_first(error)}; {instead}")
    return None


def _key() -> str:
    """Which key was tried: its name alone."""
    return "WANDB_API_KEY" if os.environ.get("WANDB_API_KEY") else f"netrc: {HOST}"


def _first(error: Exception) -> str:
    """In one line; of a setting that is refused, what it may be."""
    said = str(error).splitlines() or [type(error).__name__]
    why = next((line.strip() for line in said if line.strip().startswith("Input should be")), said[0])
    return why.partition(" [type=")[0]


def sent(run: Any, line: Json) -> bool:
    """Send a line of metrics.jsonl; False if wandb has failed, which is told, and no reason to stop training."""
    flat = {k: v for k, v in line.items() if not isinstance(v, dict | list)}
    flat |= {f"bpb/{k}": v for k, v in line.get("bpb", {}).items()}
    try:
        run.log(flat, step=line["step"])
    except Exception as error:  # its service may have died
        warn(f"wandb: {_first(error)}; {tell('no longer recording', '不再记录')}")
        return False
    return True


def finish(run: Any) -> None:
    """What is not sent yet is, unless that takes long: a network that went away must not keep a model from its end."""
    problems: list[Exception] = []

    def work() -> None:
        try:
            run.finish()
        except Exception as error:  # as in `sent`
            problems.append(error)

    thread = threading.Thread(target=work, name="wandb", daemon=True)
    thread.start()
    thread.join(LAST_WORDS)
    problem = _first(problems[0]) if problems else tell("still sending", "仍在发送") if thread.is_alive() else ""
    if problem:
        later = tell("`wandb sync` sends the rest", "其余可用 `wandb sync` 补传")
        warn(f"wandb: {problem}; {later} ({run.settings.sync_dir})")
