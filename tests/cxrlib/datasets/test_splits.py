"""Splits by group: stable, of the right share, and never with a group in both splits."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cxrlib.datasets import Sample, Split
from cxrlib.datasets.splits import TEST_SHARE, block_name, drop_leaking_films, groups_in_both_splits, split_of

_films = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(Split)), max_size=30).map(
    lambda pairs: [Sample(Path(f"{n}.png"), "s", group, split) for n, (group, split) in enumerate(pairs)]
)


def test_split_depends_on_the_group_name_only() -> None:
    names = ["kermany/person1", "covid-qu-ex/block-3", "a", "b", "c", "montgomery/MCUCXR_0001_0", "x", "y", "z", ""]
    assert "".join("x" if split_of(name) is Split.TEST else "." for name in names) == "x.......x."


def test_a_fifth_of_the_groups_is_in_the_test_split() -> None:
    share = sum(split_of(f"patient {n}") is Split.TEST for n in range(4000)) / 4000
    assert abs(share - TEST_SHARE) < 0.02


def test_test_split_is_independent_of_the_validation_share() -> None:
    """A recipe holds out by the plain digest. With the same digest here, it would hold out no training group."""
    training = [name for name in map(str, range(2000)) if split_of(name) is Split.TRAIN]
    plain = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64 for name in training]
    assert 0.03 < sum(value < 0.05 for value in plain) / len(training) < 0.07


def test_block_has_twenty_file_numbers() -> None:
    assert [block_name(number) for number in (0, 19, 20)] == ["block-0", "block-0", "block-1"]


@given(_films)
def test_leaking_training_films_are_dropped_and_test_films_kept(films: list[Sample]) -> None:
    kept, dropped = drop_leaking_films(films)
    assert not groups_in_both_splits(kept)
    assert len(kept) + dropped == len(films)
    assert [film for film in kept if film.split is Split.TEST] == [film for film in films if film.split is Split.TEST]
    lone = {film.group for film in films} - groups_in_both_splits(films)
    assert [film for film in kept if film.group in lone] == [film for film in films if film.group in lone]
