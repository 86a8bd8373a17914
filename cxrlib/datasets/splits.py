"""Splits by group, for data sets that bring none, and the rule that no group stands on both sides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from cxrlib.datasets.sample import Sample, Split

#: Share of the groups that are test films where a data set has no split of its own (qu-ex section 3.4: 80 to 20).
TEST_SHARE: Final = 0.2
#: File numbers per group where a data set numbers its films and names no patient: films of one patient were mostly
#: numbered one after the other.
BLOCK_SIZE: Final = 20


def split_of(group: str) -> Split:
    """Return the split of a group: a property of its name alone, so the same on every machine and for ever."""
    # The salt keeps these shares apart from the validation share, which a recipe takes by the same kind of digest.
    digest = hashlib.sha256(f"test split of {group}".encode()).digest()
    return Split.TEST if int.from_bytes(digest[:8], "big") / 2**64 < TEST_SHARE else Split.TRAIN


def block_name(number: int) -> str:
    """Return the name of the block of `BLOCK_SIZE` file numbers that holds `number`."""
    return f"block-{number // BLOCK_SIZE}"


def groups_in_both_splits(samples: Iterable[Sample]) -> set[str]:
    """Return the groups that have films in both splits."""
    groups: dict[Split, set[str]] = {split: set() for split in Split}
    for sample in samples:
        groups[sample.split].add(sample.group)
    return groups[Split.TRAIN] & groups[Split.TEST]


def drop_leaking_films(samples: Sequence[Sample]) -> tuple[list[Sample], int]:
    """Return the films without those training films whose patient is in the test split too, and how many these were.

    The test split stays as published, so that figures on it compare with others'.
    """
    both = groups_in_both_splits(samples)
    kept = [sample for sample in samples if sample.split is Split.TEST or sample.group not in both]
    return kept, len(samples) - len(kept)
