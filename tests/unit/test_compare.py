"""Comparing two bundles over the same films, and choosing films by their rows as the source of a further run."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator

import pandas as pd
import pyarrow.parquet as pq
import pytest

from cxrlib.results.compare import Comparison, Outcome, Side, compared
from cxrlib.runs.store import Store
from schemas import Reason
from tests.unit.settled_roots import NEW, OLD, Content, score

FILMS: dict[str, Content] = {f"f{n:02d}": n for n in range(24)}


@pytest.fixture(scope="module", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Films under an old and a new bundle: most alike, some replaced, some that one of them rejected or never met."""
    out = tmp_path_factory.mktemp("compare") / "out"
    score(out, FILMS | {"old_only": 40, "bad_old": Reason.NO_LUNG, "bad_new": 41, "moved": 42}, run_id="a-old")
    later = FILMS | {"f03": 90, "new_only": 43, "bad_old": 44, "bad_new": Reason.IMPLAUSIBLE_LUNG}
    score(out, later | {"moved": Reason.CHANGED}, run_id="b-new", bundle=NEW)
    return Store.at(str(out))


def compare(root: Store, **options: object) -> tuple[Comparison, pd.DataFrame]:
    with compared(Side(root, OLD.partition), Side(root, NEW.partition), **options) as (met, films):  # type: ignore[arg-type]
        return met, pq.read_table(io.BytesIO(films.parquet())).to_pandas()


def test_each_film_has_one_outcome_and_a_replaced_object_is_named(root: Store) -> None:
    met, films = compare(root)
    by_name = {
        uri.removeprefix("s3://b/"): outcome for uri, outcome in zip(films["uri"], films["outcome"], strict=True)
    }
    assert by_name == dict.fromkeys(FILMS, "compared") | {
        "f03": "changed", "moved": "changed", "old_only": "only_old", "new_only": "only_new",
        "bad_old": "rejected_old", "bad_new": "rejected_new",
    }  # fmt: skip
    assert met.changed == ("s3://b/f03", "s3://b/moved")
    assert {(of.by, of.reason, of.films) for of in met.rejections} == {
        (Outcome.REJECTED_NEW, "implausible_lung", 1),
        (Outcome.REJECTED_OLD, "no_lung", 1),
    }
    assert sum(films for _, films in met.outcomes) == len(films)
    assert met.same_settings
