"""Split data sets without a published split by group, and make sure that no group is in both splits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from cxrlib.datasets.sample import Sample, Split

#: Share of the groups used for testing if a data set has no split (qu-ex section 3.4: 80 to 20).
TEST_SHARE: Final = 0.2
#: File numbers per group if a data set numbers its films and has no patients. Films of one patient mostly have
#: consecutive numbers.
BLOCK_SIZE: Final = 20


def split_of(group: str) -> Split:
    """Return the split of a group. It depends on the group's name only, so it is the same on every machine."""
    # The prefix makes this split independent of the validation share, which a recipe takes by the same kind of digest.
    digest = hashlib.sha256(f"test split of {group}".encode()).digest()
    return Split.TEST if int.from_bytes(digest[:8], "big") / 2**64 < TEST_SHARE else Split.TRAIN


def block_name(number: int) -> str:
    """Return the name of the block of `BLOCK_SIZE` consecutive file numbers that contains `number`."""
    return f"block-{number // BLOCK_SIZE}"


def groups_in_both_splits(samples: Iterable[Sample]) -> set[str]:
    """Return the groups with films in both splits."""
    groups: dict[Split, set[str]] = {split: set() for split in Split}
    for sample in samples:
        groups[sample.split].add(sample.group)
    return groups[Split.TRAIN] & groups[Split.TEST]


def drop_leaking_films(samples: Sequence[Sample]) -> tuple[list[Sample], int]:
    """Remove training films whose group has test films. Return the remaining films and the number of removed ones.

    The test split stays as published, so that figures on it can be compared with published ones.
    """
    both = groups_in_both_splits(samples)
    kept = [sample for sample in samples if sample.split is Split.TEST or sample.group not in both]
    return kept, len(samples) - len(kept)
