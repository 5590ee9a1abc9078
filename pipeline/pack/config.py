"""What can be chosen about packing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class PackConfig:
    """Clean records and a tokenizer in, token shards out."""

    FREE: ClassVar[frozenset[str]] = frozenset({"workers"})

    workers: int = 0
    """Processes; 0 takes one a core. The output does not depend on it."""

    chat_in_pretrain: bool = False
    """Let pretrain read the chat too; it does so anyway if there is no text."""

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError(f"workers = {self.workers}; give a number of processes, or 0 for one a core")
