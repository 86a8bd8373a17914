"""Chunks, from the first film to two settled objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxr_schemas import Reason
from cxrlib.errors import FilmError, RunError
from cxrlib.film_steps import rejected, without_pixels
from cxrlib.results import layout
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs.chunks import OpenChunks, Outcome, Tally, settle, tally
from cxrlib.runs.plan import Chunk
from cxrlib.types import ImageRef, Provenance, RejectedFilm
from tests.support.scored_films import minimal_scored_film

BY = Provenance("b", "1.0.0", "bd", "cd", "0.1", "run-1")
CHUNK = Chunk("c1", 0, 3)


def outcomes() -> list[Outcome]:
    return [
        minimal_scored_film(ImageRef("a", "mtime:1", 5)),
        RejectedFilm(ImageRef("b", "mtime:1", 5), Reason.TRUNCATED, "expected more; got less"),
        RejectedFilm(ImageRef("c", "mtime:1", 5), Reason.FETCH_FAILED, "expected bytes; got none"),
    ]


def test_chunk_is_returned_with_its_last_film() -> None:
    open_chunks = OpenChunks()
    first, second, third = outcomes()
    assert open_chunks.add(CHUNK, first) is None
    assert open_chunks.add(Chunk("other", 3, 2), first) is None
    assert open_chunks.add(CHUNK, second) is None
    assert open_chunks.add(CHUNK, third) == [first, second, third]


def test_incomplete_chunk_at_the_end_is_an_error() -> None:
    open_chunks = OpenChunks()
    open_chunks.check_closed()
    open_chunks.add(CHUNK, outcomes()[0])
    with pytest.raises(RunError, match=r"got incomplete ones: c1 \(1 films\)"):
        open_chunks.check_closed()


def test_tally_of_a_settled_chunk_equals_that_of_its_objects(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path))
    counted = settle(results, "b-1", CHUNK, outcomes(), BY)
    assert counted == Tally(scored=1, rejected=2, retryable=1, reasons={"fetch_failed": 1, "truncated": 1})
    assert tally(results, "b-1", [CHUNK]) == counted


def test_bytes_of_a_chunk_do_not_depend_on_the_order_of_its_films(tmp_path: Path) -> None:
    one, two = ResultsRoot.at(str(tmp_path / "one")), ResultsRoot.at(str(tmp_path / "two"))
    settle(one, "b-1", CHUNK, outcomes(), BY)
    settle(two, "b-1", CHUNK, outcomes()[::-1], BY)
    for kind in RowKind:
        key = layout.chunk_key(kind, "b-1", "c1")
        assert one.get(key) == two.get(key)


def test_film_twice_in_a_chunk_is_an_error_and_nothing_is_stored(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path))
    twice = [*outcomes()[:2], outcomes()[0]]
    with pytest.raises(RunError, match="got 3 outcomes for 2 films"):
        settle(results, "b-1", CHUNK, twice, BY)
    assert results.chunks(RowKind.SCORES, "b-1") == frozenset()


def test_chunk_with_another_number_of_films_than_planned_is_an_error(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path))
    settle(results, "b-1", CHUNK, outcomes(), BY)
    with pytest.raises(RunError, match="expected 4 films as planned; got 1 scored and 2 rejected"):
        tally(results, "b-1", [Chunk("c1", 0, 4)])


def test_missing_chunk_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="expected a Parquet object"):
        tally(ResultsRoot.at(str(tmp_path)), "b-1", [CHUNK])


def test_tallies_of_chunks_add_up() -> None:
    one = Tally(1, 2, 1, {"truncated": 2})
    assert one + Tally(3, 1, 0, {"constant": 1}) == Tally(4, 3, 1, {"constant": 1, "truncated": 2})


def test_film_without_pixels_gives_the_same_row(tmp_path: Path) -> None:
    film = minimal_scored_film(ImageRef("a", "mtime:1", 5))
    light = without_pixels(film)
    assert light.image.pixels.shape == film.image.pixels.shape
    assert light.prediction.lung.strides == (0, 0)
    results, chunk = ResultsRoot.at(str(tmp_path)), Chunk("c", 0, 1)
    key = layout.chunk_key(RowKind.SCORES, "b-1", "c")
    settle(results, "b-1", chunk, [film], BY)
    heavy = results.get(key)
    settle(results, "b-1", chunk, [light], BY)
    assert results.get(key) == heavy


def test_error_becomes_a_reject_with_its_message() -> None:
    ref = ImageRef("a", "mtime:1", 5)
    error = FilmError(Reason.CONSTANT, expected="contrast", got="one value")
    assert rejected(ref, error) == RejectedFilm(ref, Reason.CONSTANT, "expected contrast; got one value")
