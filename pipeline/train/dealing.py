"""Who works on which rows of a batch, and on how many at once.

Below fp32 each micro-batch rounds its gradient, to 8 bits or 11, and of a batch cut otherwise the sum is another. So
there, if the recipe says `micro_batch`, micro-batches are dealt out whole: one process and many have the same ones.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from pipeline.train.objectives.base import Batch
from pipeline.train.rows import Rows
from utils.scoring import UNTRAINED


def even_share(batch_size: int, world: int) -> int:
    """The most rows of a rank, where a batch is dealt out row by row."""
    return math.ceil(batch_size / world)


def share(batch_size: int, rank: int, world: int, piece: int = 1) -> range:
    """The rows of a batch that are this rank's: neighbours, as even as pieces of so many rows can be."""
    each = even_share(math.ceil(batch_size / piece), world) * piece
    return range(min(rank * each, batch_size), min((rank + 1) * each, batch_size))


def rounds(batch_size: int, world: int, micro_batch: int, piece: int = 1) -> int:
    """Micro-batches a step: as many on every rank, or ranks would wait for each other for ever."""
    return math.ceil(len(share(batch_size, 0, world, piece)) / micro_batch)


def micro_batches(rows: Rows, number: int, size: int) -> list[Rows]:
    """A rank's rows in `number` pieces; where there are too few, a row that trains nothing takes the place."""
    pieces = [cut(rows, slice(i * size, (i + 1) * size)) for i in range(number)]
    return [piece if len(piece.targets) else idle(rows.targets.shape[1]) for piece in pieces]


def cut(rows: Rows, part: slice) -> Rows:
    """Some of the rows."""
    return Rows(rows.input_ids[part], rows.targets[part], rows.position_ids[part])


def idle(length: int) -> Rows:
    """One row that trains no token."""
    zeros = np.zeros((1, length), np.int32)
    return Rows(zeros, np.full_like(zeros, UNTRAINED), np.arange(length, dtype=np.int32)[None])


def on(device: torch.device, rows: Rows) -> Batch:
    """Rows as the int64 tensors that the model's door takes; widened on the device, so that half as much travels."""
    arrays = {"input_ids": rows.input_ids, "targets": rows.targets, "position_ids": rows.position_ids}
    return {name: torch.from_numpy(array).to(device, non_blocking=True).long() for name, array in arrays.items()}
