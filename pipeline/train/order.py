"""In which order sequences are read: pure functions of the position, nothing to store and nothing to replay.

A position (the sequences consumed so far) goes in; which source it falls to, and which of that source's sequences
it is, come out. Both are closed-form, so that a run resumes at any position at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xxhash

from utils.console import UserError
from utils.hashing import GOLDEN, scrambled
from utils.recipe import nearest

ROUNDS = 6
"""Of the Feistel network: four already pass for random, and these cost a few operations a sequence."""

FINENESS = 1 << 30
"""A mixture's shares are told apart down to one part in so many."""


def permuted(indices_N: np.ndarray, size: int, key: str) -> np.ndarray:
    """A bijection of 0 … size - 1, another one for every key, computed for these indices alone."""
    return permuted_in_groups(indices_N, np.zeros(len(indices_N), np.int64), [size], [key])


def permuted_in_groups(
    indices_N: np.ndarray, group_N: np.ndarray, sizes: Sequence[int], keys: Sequence[str]
) -> np.ndarray:
    """`permuted` for several sizes and keys at once: each index by those of its group.

    A Feistel network permutes the next power of two; whoever lands beyond `size` walks on along its own cycle,
    which comes back below `size` after less than two steps on average.
    """
    size_N = np.array(sizes, np.uint64)[group_N]
    bits_N = np.array([max(2, (size - 1).bit_length()) for size in sizes], np.uint64)[group_N]
    numbers = [[xxhash.xxh3_64_intdigest(f"{key}/{turn}".encode()) for key in keys] for turn in range(ROUNDS)]
    numbers_RN = np.array(numbers, np.uint64)[:, group_N]
    found_N = _feistel(indices_N.astype(np.uint64), bits_N, numbers_RN)
    while len(beyond_B := np.flatnonzero(found_N >= size_N)):
        found_N[beyond_B] = _feistel(found_N[beyond_B], bits_N[beyond_B], numbers_RN[:, beyond_B])
    return found_N.astype(np.int64)


def _feistel(values_N: np.ndarray, bits_N: np.ndarray, numbers_RN: np.ndarray) -> np.ndarray:
    one = np.uint64(1)
    low_bits_N = bits_N >> one
    low_mask_N, high_mask_N = (one << low_bits_N) - one, (one << (bits_N - low_bits_N)) - one
    low_N, high_N = values_N & low_mask_N, values_N >> low_bits_N
    for turn, number_N in enumerate(numbers_RN):
        if turn % 2:
            high_N = high_N ^ (scrambled(low_N ^ number_N) & high_mask_N)
        else:
            low_N = low_N ^ (scrambled(high_N ^ number_N) & low_mask_N)
    return (high_N << low_bits_N) | low_N


def uniform(count: int, key: str) -> np.ndarray:
    """So many numbers in [0, 1) for a key: splitmix64, the same on any machine and with any numpy."""
    start = np.uint64(xxhash.xxh3_64_intdigest(key.encode()))
    steps_N = np.arange(1, count + 1, dtype=np.uint64) * GOLDEN
    return (scrambled(start + steps_N) >> np.uint64(11)) * 2.0**-53


def weights(sizes: Mapping[str, int], mix: Mapping[str, float], where: str) -> dict[str, int]:
    """How many of every so many positions fall to each source; by size without a mix, none to whom it leaves out."""
    for name, share in mix.items():
        if name not in sizes:
            raise UserError(f"{where}: no source {name!r}{nearest(name, sizes)}")
        if not share >= 0:
            raise UserError(f"{where}: {name} has the share {share}; give a number of 0 or more")
    if not mix:
        return {name: size for name, size in sizes.items() if size}
    total = sum(share for name, share in mix.items() if sizes[name])
    if not total > 0:
        raise UserError(f"{where}: none of {', '.join(mix)} has both a share above 0 and data; give one a share")
    return {name: max(1, round(mix[name] / total * FINENESS)) for name in sizes if sizes[name] and mix.get(name)}


def assigned(positions_N: np.ndarray, shares: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """To which source each position falls, and how many earlier positions fell to the same one.

    The first source takes its share of the positions, evenly spread; what is left counts as positions of its own,
    of which the second takes its share; and so on. After every sum(shares) positions each source has had exactly
    its share, whatever the remainders.
    """
    source_N = np.empty(len(positions_N), np.int64)
    ordinal_N = np.empty(len(positions_N), np.int64)
    waiting = np.arange(len(positions_N))
    left_W = positions_N.astype(np.int64)
    total = sum(shares)
    for number, share in enumerate(shares):
        earlier_W = _taken(left_W, share, total)
        takes_W = _taken(left_W + 1, share, total) > earlier_W
        source_N[waiting[takes_W]] = number
        ordinal_N[waiting[takes_W]] = earlier_W[takes_W]
        waiting, left_W = waiting[~takes_W], (left_W - earlier_W)[~takes_W]
        total -= share
    return source_N, ordinal_N


def _taken(positions: np.ndarray, share: int, total: int) -> np.ndarray:
    """floor(positions * share / total), in whole numbers that do not overflow."""
    rounds, rest = np.divmod(positions, total)
    return rounds * share + rest * share // total
