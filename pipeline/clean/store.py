"""Where the tasks of cleaning leave their files: a folder, or any place that fsspec knows (`s3://bucket/run`).

Every machine of a cluster must see the same store. A file is whole or absent: in a folder by a draft and a rename,
elsewhere because object stores show a file when it is closed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from pipeline.clean.files.places import file_system, is_url
from utils.stage import Json, read_json, whole, write_json

SCRATCH = "work/"
"""Files that one step writes anew for the next, and that are gone in the end."""


@dataclass(frozen=True)
class Store:
    """A place for files by name; picklable."""

    root: str

    @property
    def is_local(self) -> bool:
        """A folder of this machine?"""
        return not is_url(self.root)

    def path(self, name: str) -> Path:
        """A local store's file."""
        return Path(self.root) / name

    def exists(self, name: str) -> bool:
        """Is it there, and so whole?"""
        if self.is_local:
            return self.path(name).exists()
        system, root = file_system(self.root)
        return bool(system.exists(f"{root}/{name}"))

    @contextmanager
    def write(self, name: str) -> Iterator[BinaryIO]:
        """A new file; under its name only when it is complete. What lies in SCRATCH need not outlive a power cut."""
        if self.is_local and name.startswith(SCRATCH):
            scratch = self.path(name)
            scratch.parent.mkdir(parents=True, exist_ok=True)
            with scratch.open("wb") as file:
                yield file
        elif self.is_local:
            with whole(self.path(name)) as draft, draft.open("wb") as file:
                yield file
        else:
            system, root = file_system(self.root)
            path = f"{root}/{name}"
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            with system.transaction, system.open(path, "wb") as remote:
                yield cast(BinaryIO, remote)

    @contextmanager
    def read(self, name: str) -> Iterator[BinaryIO]:
        """A file's bytes."""
        if self.is_local:
            with self.path(name).open("rb") as file:
                yield file
            return
        system, root = file_system(self.root)
        with system.open(f"{root}/{name}", "rb") as remote:
            yield cast(BinaryIO, remote)

    def write_json(self, name: str, value: Any) -> None:
        """A JSON file."""
        if self.is_local:
            write_json(self.path(name), value)
        else:
            with self.write(name) as file:
                file.write(json.dumps(value, ensure_ascii=False).encode())

    def read_json(self, name: str) -> Json:
        """A JSON file that `write_json` wrote."""
        if self.is_local:
            return read_json(self.path(name))
        with self.read(name) as file:
            return cast(Json, json.load(file))

    def fetch(self, folder: Path, names: Iterable[str]) -> None:
        """Copy files of the store into a folder."""
        for name in names:
            with self.read(name) as file, whole(folder / name) as draft, draft.open("wb") as local:
                shutil.copyfileobj(file, local, 1 << 22)
