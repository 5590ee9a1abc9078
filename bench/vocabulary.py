"""Which vocabulary suits a small model: how far each compresses, and what tiny models of equal compute make of it.

    python -m bench.vocabulary [--folder DIR] [--part grid models] [--share 0.25] [--quick]
                               [--flops 2e13] [--first 11] [--layers 4] [--lr 4e-3]

On the modern text of the Chinese classics and some English (`real_text.py`, `vocabulary_corpus.py`), chapters held out
by hash. `grid` trains vocabularies only (minutes; `vocabulary_grid.py`). `models` trains a tiny gpt for each of
SETTINGS with the same number of floating-point operations, and compares held-out bits per byte (some minutes of one
core each; `vocabulary_models.py`). What is finished in the folder is not done again. All tables are printed and written
there, as vocabulary.json. `--quick` does a little of both, to see that it works.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench import vocabulary_corpus, vocabulary_grid, vocabulary_models
from bench.real_text import DATA
from bench.vocabulary_models import Plan, Setting
from pipeline.tokenizer.config import TokenizerConfig
from utils.stage import Json, read_json, write_json

SHARE, VALID = 0.25, 0.04
"""22 MB of modern text, beside 1.8 MB of English; a share of 0.02 makes about as much of both."""

SETTINGS = (
    Setting(6_400, 0.995, False),
    Setting(6_400, 0.995, True),
    Setting(6_400, 0.9995, True),  # SentencePiece's own defaults, about: most pieces become single characters
    Setting(6_400, 0.9995, False),
    Setting(16_000, 0.999, True),
    Setting(16_000, 0.999, False),
    Setting(4_000, 0.98, True),
    Setting(6_400, 0.98, True),
    Setting(32_000, 0.999, True),
    Setting(6_400, 0.995, False, seed=1),
    Setting(6_400, 0.995, True, seed=1),
)
"""The most telling first."""

QUICK_SHARE, QUICK_SIZES = 0.01, (3_000, 3_500)
QUICK = (Setting(3_000, 0.98, False), Setting(3_500, 0.99, True))


def main() -> None:
    """Both parts, printed as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--folder", type=Path, default=Path("runs/vocabulary"))
    parser.add_argument("--part", nargs="+", choices=("grid", "models"), default=("grid", "models"))
    parser.add_argument("--share", type=float, default=SHARE)
    parser.add_argument("--flops", type=float, default=2e13)
    parser.add_argument("--first", type=int, default=len(SETTINGS), help="only so many of the settings")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    if not given.data.is_dir():
        print(f"{given.data}: not there; bench.vocabulary needs real text to learn from, named by --data")
        return
    measure(given)


def measure(given: argparse.Namespace) -> None:
    """The parts asked for."""
    share, sizes = (given.share, vocabulary_grid.SIZES) if not given.quick else (QUICK_SHARE, QUICK_SIZES)
    folder = given.folder / "quick" if given.quick else given.folder
    clean = vocabulary_corpus.make(folder, given.data, share, VALID)
    if "grid" in given.part:
        coverages = vocabulary_grid.COVERAGES if not given.quick else (0.98,)
        keep(folder, "grid", table(vocabulary_grid.grid(clean, sizes, coverages)))
        keep(folder, "line_ends", table(vocabulary_grid.line_ends(clean, TokenizerConfig(vocab_size=sizes[1]))))
    if "models" in given.part:
        settings = SETTINGS[: given.first] if not given.quick else QUICK
        plan = Plan(given.flops if not given.quick else 2e9, given.layers, given.lr)
        rows = (vocabulary_models.row(setting, plan, clean, folder) for setting in settings)
        keep(folder, f"models {plan.name}", table(list(rows)))


def keep(folder: Path, name: str, rows: Sequence[Json]) -> None:
    """Beside what other calls found."""
    path = folder / "vocabulary.json"
    write_json(path, (read_json(path) if path.is_file() else {}) | {name: list(rows)})


def table(rows: Iterable[Json]) -> list[Json]:
    """Rows, printed as a table while they come."""
    done: list[Json] = []
    for row in rows:
        if not done:
            print("\n| " + " | ".join(row) + " |\n|" + "---|" * len(row), flush=True)
        print("| " + " | ".join(f"{value:,}" if type(value) is int else str(value) for value in row.values()) + " |")
        done.append(row)
    return done


if __name__ == "__main__":
    main()
