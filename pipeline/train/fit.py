"""Lengths come in, the bin of each goes out: as few bins of one capacity as two simple rules find.

Best fit is fast, and all but perfect where lengths vary. Where they are alike, as in medical answers of one form, it
leaves at each bin's end a room that nothing left over fits; there, completing bins exactly takes up to 4 % fewer.

Shapes: N lengths.
"""

from __future__ import annotations

import numpy as np

ALL_BUT_PERFECT = 0.001
"""Of so small a share of the bins above what the sum of lengths needs, nothing is to be gained."""


def fitted(lengths_N: np.ndarray, capacity: int) -> np.ndarray:
    """The bin of each length, by the rule that needs fewer bins; in doubt by best fit."""
    bin_N = best_fit(lengths_N, capacity)
    needed = -(-int(lengths_N.sum()) // capacity)
    if bin_N.max() + 1 <= needed * (1 + ALL_BUT_PERFECT):
        return bin_N
    other_N = completed(lengths_N, capacity)
    return other_N if other_N.max() < bin_N.max() else bin_N


def best_fit(lengths_N: np.ndarray, capacity: int) -> np.ndarray:
    """The bin of each length: longest first, each into the fullest bin that still has room.

    Pieces of one length are laid together: once the tightest bin has taken one, it is the tightest still, until it has
    no room for another.
    """
    lengths, counts = np.unique(lengths_N, return_counts=True)
    with_room: list[list[int]] = [[] for _ in range(capacity + 1)]  # bins by the room they have left
    rooms = 0  # bit r: some bin has room r left; the lowest bit from `length` on is the tightest fit
    bins = 0
    taken: list[int] = []  # bins as they were filled, and how many pieces of one length each took
    times: list[int] = []
    for length, waiting in zip(lengths[::-1].tolist(), counts[::-1].tolist(), strict=True):
        while waiting:
            fitting = rooms >> length
            room = length + (fitting & -fitting).bit_length() - 1 if fitting else capacity
            each = room // length
            wanted = -(-waiting // each)
            if fitting:
                these = with_room[room][: -wanted - 1 : -1]  # those that came last come first
                del with_room[room][-wanted:]
                rooms ^= (not with_room[room]) << room
            else:
                these = list(range(bins, bins + wanted))
                bins += wanted
            last = min(waiting - each * (len(these) - 1), each)
            waiting -= each * (len(these) - 1) + last
            taken += these
            times += [each] * (len(these) - 1) + [last]
            for some, left in ((these[:-1], room - each * length), (these[-1:], room - last * length)):
                if some and left:
                    with_room[left] += some
                    rooms |= 1 << left
    bin_N = np.empty(len(lengths_N), np.int64)
    bin_N[_longest_first(lengths_N, capacity)] = np.repeat(taken, times)
    return bin_N


def completed(lengths_N: np.ndarray, capacity: int) -> np.ndarray:
    """The bin of each length: bin by bin, the longest first, until one length or two fill the rest exactly."""
    counts = np.bincount(lengths_N, minlength=capacity + 1).tolist()
    here = sum(1 << length for length, count in enumerate(counts) if count)  # bit n: a length n waits
    mirrored = sum(1 << (capacity - length) for length, count in enumerate(counts) if count)
    taken: list[int] = []  # lengths as they were taken, and how many each bin took
    times: list[int] = []
    while here:
        room, before = capacity, len(taken)
        while fitting := here & ((2 << room) - 1):
            length = fitting.bit_length() - 1
            if length < room < capacity:
                length = _longer_of_two(here, mirrored >> (capacity - room), room, counts) or length
            taken.append(length)
            room -= length
            counts[length] -= 1
            if not counts[length]:
                here ^= 1 << length
                mirrored ^= 1 << (capacity - length)
        times.append(len(taken) - before)
    bin_N = np.empty(len(lengths_N), np.int64)
    order_N = np.argsort(-np.array(taken), kind="stable")
    bin_N[_longest_first(lengths_N, capacity)] = np.repeat(np.arange(len(times)), times)[order_N]
    return bin_N


def _longer_of_two(here: int, mirrored: int, room: int, counts: list[int]) -> int:
    """The longer of two waiting lengths that make up the room, the longest there is; 0 if there are none.

    Bit n of `mirrored` says that a length room - n waits.
    """
    pairs = here & mirrored & ((1 << room) - 1)
    length = pairs.bit_length() - 1
    if 2 * length == room and counts[length] < 2:
        return 0  # the longest is half the room and waits alone, so there is no other pair
    return max(length, 0)


def _longest_first(lengths_N: np.ndarray, capacity: int) -> np.ndarray:
    """Where each length stands in a stable descending order; short numbers are sorted in one pass."""
    return np.argsort((capacity - lengths_N).astype(np.min_scalar_type(capacity)), kind="stable")
