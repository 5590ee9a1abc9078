"""What a run writes into its folder on the way: checkpoints, a model that can be talked to, batches to look at.

A snapshot of the weights is taken while the run waits; files are written behind its back (`saving.py`). All ranks take
part in the snapshot, rank 0 alone writes.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

from transformers import PreTrainedModel

from pipeline.train import checkpoints, guards
from pipeline.train.checkpoints import State
from pipeline.train.engine import Engine, Weights
from pipeline.train.feed import Feed
from pipeline.train.log import Log
from pipeline.train.publish import publish, published_step
from pipeline.train.record import Record
from pipeline.train.rows import Rows
from pipeline.train.saving import Saver
from pipeline.train.task import Task
from utils.codec import Codec
from utils.console import disk_is_full, file_is_full
from utils.stage import Json, write_json

ODD = "odd-batches"
"""Where batches without a finite gradient are kept."""


class Files:
    """One run's."""

    def __init__(self, task: Task, engine: Engine, codec: Codec, template: PreTrainedModel, made_from: Json, log: Log):
        self.task, self.engine, self.codec, self.template = task, engine, codec, template
        self.made_from, self.log = made_from, log
        self.model = task.output / "model"
        self.record = Record(task.output, engine.rank) if task.config.record_ids else None
        self._saver = Saver()

    # ------------------------------------------------------------ checkpoints

    def save(self, state: State, wait: bool) -> bool:
        """A checkpoint and a model, written behind the run's back or waited for. A full disk costs this one only."""
        began = time.perf_counter()
        state = dataclasses.replace(state, cursors=self._all_cursors(state))
        self._saver.wait()  # or two snapshots would lie in memory side by side
        weights = self.engine.weights()
        if weights is not None:
            self._saver.begin(lambda: self._write(state, weights))
        saved = self._saver.wait() if wait else True
        self.log.stalled(state.step, time.perf_counter() - began, self._saver.seconds if wait else None)
        return saved

    def _write(self, state: State, weights: Weights) -> bool:
        saved = guards.survives_full_disk(f"step {state.step}", lambda: self._keep(state, weights))
        if saved and state.step >= published_step(self.model, self.codec):  # a longer run keeps the shorter one's model
            self._publish(state, weights, last=state.step == state.total)
        return saved

    def _keep(self, state: State, weights: Weights) -> None:
        """One more checkpoint, then the oldest goes; before it, where the disk has no room for both."""
        output, config = self.task.output, self.task.config
        self._making_room(state, lambda: checkpoints.save(output, state, weights))
        checkpoints.prune(output, config.keep, config.keep_every, state)

    def _making_room(self, state: State, write: Callable[[], object]) -> None:
        """Write; on a full disk the oldest checkpoint goes first, and the next, but never the newest."""
        while True:
            try:
                write()
                return
            except Exception as error:
                if file_is_full(error) or not disk_is_full(error):
                    raise
                if not checkpoints.drop_oldest(self.task.output, self.task.config.keep_every, state):
                    raise

    def _publish(self, state: State, weights: Weights, last: bool) -> None:
        """The model of this step; for the run's last one, old checkpoints make room."""
        training = {"verb": self.task.verb, "step": state.step, "of": state.total, "tokens": state.tokens}
        training |= state.made_from

        def write() -> None:
            publish(self.template, weights.masters, self.codec, training, self.model)

        guards.survives_full_disk(
            f"model/ of step {state.step}", (lambda: self._making_room(state, write)) if last else write
        )

    def publish_last(self, state: State) -> None:
        """A run that was killed, or had no room, between its last checkpoint and its model makes up for it."""
        behind = self.engine.rank == 0 and published_step(self.model, self.codec) != state.step
        if self.engine.sum([float(behind)])[0]:
            weights = self.engine.weights()
            if weights is not None:
                self._publish(state, weights, last=True)

    def _all_cursors(self, state: State) -> Json:
        """Every rank's lanes of a stream, together; a rank may have none, and takes part all the same."""
        if not self.task.config.streamed:
            return state.cursors
        together: Json = {}
        for part in self.engine.gather(state.cursors):
            for name, cursor in part.items():
                known = together.setdefault(name, cursor)
                assert known == cursor, f"ranks disagree on {name}: {known}, {cursor}"
        return together

    # ------------------------------------------------------------ what went wrong

    def back(self, step: int, feed: Feed, total: int) -> State | None:
        """Engine, feed and what is written, as they were at the last checkpoint."""
        self._saver.wait()
        self.engine.wait()  # until rank 0 has written all there is to read
        restored = checkpoints.restore(self.task.output, total, self.made_from)
        if restored is None:
            return None
        state, weights = restored
        self.engine.restore(weights)
        feed.seek(state.cursors)
        self.log.go_back(state.step)
        self.log.event(step, "rolled_back", to=state.step)
        if self.record:
            self.record.go_back(state.step)
        return state

    def dump(self, state: State, rows: Rows, ids: list[list[str]]) -> Path:
        """This rank's rows of a batch: what they were made from, and what they say."""
        path = self.task.output / ODD / f"step-{state.step}-rank-{self.engine.rank}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        told = {
            "step": state.step,
            "ids": ids,
            "texts": [self.codec.decode(row.tolist()) for row in rows.input_ids],
            "input_ids": rows.input_ids.tolist(),
            "targets": rows.targets.tolist(),
        }
        guards.survives_full_disk(str(path), lambda: write_json(path, told))
        return path

    def close(self) -> None:
        """What is being written is written to its end."""
        self._saver.close()
