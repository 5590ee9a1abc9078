"""report.json and report.html of a cleaning: the account, and the evidence a person wants to see beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.clean.evidence import Evidence, dropped_samples, gallery, histograms
from pipeline.clean.page import page_of
from pipeline.clean.read import summed
from pipeline.clean.text.pii import masked
from utils.stage import Json, whole, write_json


def write_report(folder: Path, report: Json, accounts: Sequence[Json], evidence: Evidence) -> None:
    """Add the evidence to the account, and write both pages."""
    report |= {
        "mended": _discreet(summed([one["notes"] for one in accounts]).to_json()),
        "samples": _discreet(dropped_samples(evidence)),
        "clusters": _discreet(gallery(evidence)),
        "histograms": histograms(evidence),
        "quarantine": _discreet([line for one in accounts for line in one["first_bad"]][:50]),
    }
    write_json(folder / "report.json", report)
    with whole(folder / "report.html") as draft:
        draft.write_text(page_of(report), encoding="utf-8")


def _discreet(value: Any) -> Any:
    """The same, with personal data masked in every text: a report is shown around."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {name: _discreet(inner) for name, inner in value.items()}
    return [_discreet(inner) for inner in value] if isinstance(value, list | tuple) else value
