"""Masters come in; `model/` goes out: a folder that `from_pretrained` loads where nothing of Yaya is installed.

It holds the weights, the model's own code, the tokenizer with its chat template, and `training.json`, which
says what it was made from.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedModel
from transformers.utils import logging

from pipeline.train.optimizers import Tensors
from utils.codec import Codec
from utils.console import UserError
from utils.stage import Json, discard, put_in_place, read_json, sync, write_json


def template(model: PreTrainedModel) -> PreTrainedModel:
    """The same model without any weights, fp32: what `publish` fills, without drawing one random number."""
    with torch.device("meta"):
        return type(model)(model.config).float()


def publish(plain: PreTrainedModel, masters: Tensors, codec: Codec, training: Json, folder: Path) -> None:
    """Write the folder beside its place and put it there by renaming; fp32, so that nothing is lost."""
    draft = folder.with_name(f".{folder.name}.part")
    discard(draft)
    logging.disable_progress_bar()  # writing a file is no news
    try:
        plain.load_state_dict(masters, strict=False, assign=True)
        plain.tie_weights()
        plain.generation_config = GenerationConfig(
            eos_token_id=[codec.end_of_turn, codec.end_of_text],
            pad_token_id=codec.pad,
            bos_token_id=codec.end_of_text,
        )
        plain.save_pretrained(draft)
        for name, content in codec.files.items():
            (draft / name).write_bytes(content)
        write_json(draft / "training.json", training)
        for path in draft.iterdir():
            sync(path)
        put_in_place(draft, folder)
    finally:
        discard(draft)


def published_step(folder: Path, codec: Codec) -> int:
    """The step of the model that lies there; -1 if there is none, or not all of it."""
    if not all((folder / name).is_file() for name in ("training.json", "model.safetensors", *codec.files)):
        return -1
    try:
        step = read_json(folder / "training.json").get("step")
    except UserError:
        return -1
    return step if isinstance(step, int) else -1
