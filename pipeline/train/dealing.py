"""Who works on which rows of a batch, and on how many at once.

Where the recipe sets `micro_batch`, micro-batches are dealt out whole, so that one process and many have the same ones.
Below fp32 each rounds its gradient, to 8 bits or 11: of a batch cut otherwise the sum would be another.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from pipeline.train.objectives.base import Batch
from pipeline.train.rows import Rows
from utils.scoring import UNTRAINED


def share(batch_size: int, rank: int, world: int, whole: int = 1) -> range:
    """The rows of a batch that are this rank's: neighbours, as even as pieces of `whole` rows can be."""
    each = math.ceil(math.ceil(batch_size / whole) / world) * whole
    return range(min(rank * each, batch_size), min((rank + 1) * each, batch_size))


def rounds(batch_size: int, world: int, micro_batch: int) -> int:
    """Micro-batches a step: as many on every rank, or ranks would wait for each other for ever."""
    return math.ceil(math.ceil(batch_size / world) / micro_batch)


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
