"""Texts that wait for their lane: a few in memory, the others in temporary files, so that memory stays what it is.

Lanes use up their documents unevenly, and the one that is ahead makes the stream be read on: what then waits for the
others grows with the square root of the stream's length, and by as much as one very long document is long.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import IO

from pipeline.train.guards import room_for_temporary_files

IN_MEMORY = 16 << 20
"""Characters that wait in memory, before files are begun."""

SEGMENT = 64 << 20
"""Bytes of a file; it goes when the last text in it is taken."""


class _Segment:
    """A file, and how many of its texts are still wanted."""

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed when nothing of it is wanted)
        self.size = self.wanted = 0


@dataclass(frozen=True, slots=True)
class _Place:
    segment: _Segment
    start: int
    size: int


Waiting = str | _Place
"""A text that was put here, to be taken once."""


class Shelf:
    """Give texts, get tickets; give tickets, get texts."""

    def __init__(self) -> None:
        self._characters = 0
        self._last: _Segment | None = None

    def put(self, text: str) -> Waiting:
        """Keep this text."""
        if self._characters + len(text) <= IN_MEMORY:
            self._characters += len(text)
            return text
        with room_for_temporary_files():
            return self._to_file(text.encode("utf-8", "surrogatepass"))

    def _to_file(self, data: bytes) -> _Place:
        if self._last is None or self._last.size + len(data) > SEGMENT:
            self._last = _Segment()
        segment = self._last
        place = _Place(segment, segment.size, len(data))
        segment.file.seek(segment.size)
        segment.file.write(data)
        segment.file.flush()  # a full disk is met here, not when something is taken
        segment.size += len(data)
        segment.wanted += 1
        return place

    def take(self, waiting: Waiting) -> str:
        """The text, which is not kept any longer."""
        if isinstance(waiting, str):
            self._characters -= len(waiting)
            return waiting
        segment = waiting.segment
        segment.file.seek(waiting.start)
        data = segment.file.read(waiting.size)
        segment.wanted -= 1
        if not segment.wanted:
            segment.file.close()
            if segment is self._last:
                self._last = None
        return data.decode("utf-8", "surrogatepass")
