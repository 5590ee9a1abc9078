"""What is kept for good: Python's collector leaves it alone, and works on afterwards."""

from __future__ import annotations

import gc

from utils.memory import kept_for_good


def test_what_is_made_inside_is_looked_through_no_more() -> None:
    before = gc.get_freeze_count()
    with kept_for_good():
        assert not gc.isenabled()
        kept = [[number] for number in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(kept)
    gc.unfreeze()
