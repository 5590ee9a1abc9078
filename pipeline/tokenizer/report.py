"""A finished vocabulary and the clean records in, its figures and report.html out.

Figures come from `measure.py`, on the text that `texts.py` chooses, beside GPT-2 and the folders of
`tokenizer.compare`. A list that changed makes the report again, and the vocabulary stays what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from pipeline.tokenizer import measure
from pipeline.tokenizer.measured import OURS, Measured, compared, ours
from pipeline.tokenizer.page import page_of, told
from pipeline.tokenizer.page_pieces import Vocabulary
from pipeline.tokenizer.page_words import encoder_name, language_name
from pipeline.tokenizer.texts import Texts, held_out, trained_on
from utils.console import progress, tell
from utils.encoders import SPM
from utils.language import LANGUAGES, Language
from utils.stage import REPORTS, Json, lock, read_json, vouch_again, whole, write_json

SAMPLES, SHORTEST, LONGEST = 5, 50, 130
"""Texts shown in their tokens, and of how many characters."""


def write_report(clean: Path, folder: Path, others: Sequence[Measured], known: Json) -> Json:
    """report.json, which begins with what is `known`, and report.html; `others` come from `compared()`."""
    with progress(tell("tokenizer: report", "词表：报告")):
        figures, vocabulary = _figures(clean, folder, others)
    report = known | figures
    with whole(folder / "report.html") as draft:
        draft.write_text(page_of(report, vocabulary), encoding="utf-8")
    write_json(folder / "report.json", report)  # last: it says what was compared
    return report


def renew_report(clean: Path, folder: Path, compare: Sequence[str]) -> Json | None:
    """The report of a finished folder again, if others are to be compared now; None if it is as asked."""
    known = read_json(folder / "report.json", "vocab_size")
    if known.get("compared") == list(compare):
        return None
    others = compared(compare)
    with lock(folder):
        report = write_report(clean, folder, others, known | {"compared": list(compare)})
        vouch_again(folder, REPORTS)
    return report


LOSES = "*"
"""Marks a figure of a tokenizer that has no token for some of the text."""


def beside(report: Json) -> str:
    """The line that closes the stage: characters a token by language, ours and each compared."""
    parts = []
    for name in told(report):
        row = report["fit"][OURS]["languages"][name]
        others = (one["languages"][name] for other, one in report["fit"].items() if other != OURS)
        values = ", ".join(f"{one['characters_per_token']:.2f}{LOSES * bool(one['unknown'])}" for one in others)
        parts.append(f"{language_name(name)} {row['characters_per_token']:.2f} ({values})")
    names = tell(", ", "、").join(encoder_name(name) for name in report["fit"] if name != OURS)
    told_names = tell(f"characters a token ({names} in brackets): ", f"字符 / 词元（括号内为 {names}）：")
    lost = tell(f" ({LOSES} loses characters that it does not know)", f"（{LOSES} 有不认识的字符，会丢失）")
    return told_names + ", ".join(parts) + (lost if any(LOSES in part for part in parts) else "")


def _figures(clean: Path, folder: Path, others: Sequence[Measured]) -> tuple[Json, Vocabulary]:
    mine, texts = ours(folder), held_out(clean)
    encoders = [mine, *others]
    uses = {encoder.name: measure.use(encoder, texts.texts) for encoder in encoders}
    counted = trained_on(clean)
    counted += [t for t, source in zip(texts.texts, texts.sources, strict=True) if texts.held_out[source]]
    counts_V = measure.use(mine, counted).counts_V
    kinds_V = measure.kinds(mine)
    fits = {name: measure.fit(texts, used) for name, used in uses.items()}
    figures: Json = {
        "characters_per_token": {n: row["characters_per_token"] for n, row in fits[OURS]["sources"].items()},
        "held_out": texts.held_out,
        "measured": measure.sizes(texts),
        "fit": fits,
        "fertility": measure.fertility(texts, uses),
        "samples": _samples(texts, encoders),
        "composition": {e.name: measure.composition(e, measure.kinds(e)) for e in encoders},
        "counted_bytes": sum(len(text.encode()) for text in counted),
        "longest": measure.longest(mine, counts_V, kinds_V),
        "unused": measure.unused(counts_V, kinds_V, mine),
        "coverage": measure.coverage(mine, counted),
        "ranked_from": max(mine.spelling) + 1 if (folder / SPM).is_file() and mine.spelling else None,
    }
    return figures, Vocabulary(mine, kinds_V, counts_V)


def _samples(texts: Texts, encoders: Sequence[Measured]) -> list[Json]:
    """Of each source and language the first passage of a good length; the languages take turns."""
    found: dict[tuple[Language, str], str] = {}
    for text, source, language in zip(texts.texts, texts.sources, texts.languages, strict=True):
        if len(text) >= SHORTEST:
            found.setdefault((language, source), text[:LONGEST])
    turns = [[key for key in found if key[0] == language] for language in LANGUAGES]
    order = [key for turn in zip_longest(*turns) for key in turn if key is not None]
    return [
        {
            "language": language,
            "source": source,
            "tokens": {encoder.name: measure.tokens_in(encoder, found[language, source]) for encoder in encoders},
        }
        for language, source in order[:SAMPLES]
    ]
