"""A model folder as training publishes it: is it one, what was it trained for, and how it opens. No torch here.

Weights, config, tokenizer and `training.json` lie side by side, so that a folder can be moved or given away alone.
What is missing or damaged is told in one line, before anything heavy is loaded if possible.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError

from utils.console import UserError
from utils.encoders import SPM, encoder_file
from utils.stage import Json, read_json

M = TypeVar("M")

STAGES = ("finetune", "pretrain")
"""Of a workspace's models, the one that went through more training speaks, whatever their age."""


def weights(folder: Path) -> list[Path]:
    """The files of a model folder that hold its weights."""
    return sorted(folder.glob("*.safetensors"))


def is_whole(folder: Path) -> bool:
    """Are weights, config and tokenizer there?"""
    return (folder / "config.json").is_file() and encoder_file(folder) is not None and bool(weights(folder))


def check(folder: Path) -> None:
    """Refuse what is no model folder of ours, saying what is missing."""
    if not folder.exists():
        raise UserError(
            f"{folder}: no such folder; give --model the folder of a trained model, as runs/demo/finetune/model"
        )
    if not folder.is_dir():
        raise UserError(f"{folder}: is a file; give --model the folder it lies in")
    if not (folder / "config.json").is_file():
        inner = next((p.parent for p in sorted(folder.glob("**/config.json")) if is_whole(p.parent)), None)
        mend = f"did you mean {inner}?" if inner else "give --model the folder of a trained model"
        raise UserError(f"{folder}: no config.json, so not a model folder; {mend}")
    kind = _model_type(folder / "config.json")
    if not re.fullmatch("yaya_[a-z0-9_]+", kind):  # which of them there are, the loader knows
        raise UserError(
            f"{folder}: a model of type {kind!r}; for now only models that Yaya trained (yaya_…) are understood"
        )
    if not weights(folder):
        raise UserError(f"{folder}: no weights (*.safetensors); copy them there, or train again")
    if encoder_file(folder) is None:
        raise UserError(f"{folder}: no tokenizer ({SPM}); copy the one it was trained with there")


def _model_type(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get("model_type"))
    except (ValueError, AttributeError):
        raise UserError(f"{path}: damaged, not JSON; copy the model folder again") from None


def opened(folder: Path, load: Callable[[Path], M]) -> M:
    """What `load` makes of a folder that was checked; whatever keeps the weights from opening is told in one line."""
    check(folder)
    from transformers.utils import logging  # here: what only looks at a folder does not pay for it

    logging.disable_progress_bar()  # reading a small file is no news
    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)  # what its report of a bad file says is told below, in one line
    try:
        return load(folder)
    except (ValueError, OSError, RuntimeError, SafetensorError) as error:  # what the libraries say of a bad file
        why = str(error).strip().splitlines()
        if isinstance(error, ValueError) and len(why) == 1 and why[0].startswith(str(folder)):
            raise UserError(why[0]) from None  # the loader itself, naming the mend
        raise UserError(
            f"{folder}: cannot be opened ({why[0] if why else type(error).__name__}); copy it again"
        ) from None
    finally:
        logging.set_verbosity(before)


def same_vocabulary(folder: Path, tokenizer: int, model: int) -> None:
    """Refuse a tokenizer that counts other pieces than the weights were trained on."""
    if tokenizer != model:
        path = encoder_file(folder) or folder / SPM
        raise UserError(
            f"{path}: {tokenizer} pieces, and the model has {model}: the tokenizer of another model; "
            f"copy the {path.name} it was trained with there"
        )


def training(folder: Path) -> Json:
    """What the folder says about its training; empty for one that does not say."""
    path = folder / "training.json"
    return read_json(path) if path.is_file() else {}


def is_base(folder: Path) -> bool:
    """A model that was only pretrained: it goes on with a text, and has not learned to take turns."""
    return training(folder).get("verb") == "pretrain"


def model_of(workspace: Path) -> Path | None:
    """The model folder of a workspace, or None while it has none."""
    folders = (workspace / stage / "model" for stage in STAGES)
    return next((folder for folder in folders if is_whole(folder)), None)
