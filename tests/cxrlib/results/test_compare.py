"""Comparing two bundles on the same films, and selecting films by their rows as the source of another run."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cxr_schemas import FilmClass, Grade, Reason
from cxrlib.archive.listing import list_sources
from cxrlib.errors import UsageError
from cxrlib.results import cohort
from cxrlib.results.compare import COMPARISON, BundleRows, Comparison, Outcome, open_comparison
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.selection import Criteria, read_selection, require_one_partition, select, write_selection
from cxrlib.types import ImageRef
from tests.support.results_roots import NEW_BUNDLE, OLD_BUNDLE, Content, etag, write_run

FILMS: dict[str, Content] = {f"f{n:02d}": n for n in range(24)}

pytestmark = pytest.mark.usefixtures("no_fsync")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> ResultsRoot:
    """Films under an old and a new bundle: most equal, some replaced, some rejected or missing under one of them."""
    out = tmp_path_factory.mktemp("compare") / "out"
    write_run(out, FILMS | {"old_only": 40, "bad_old": Reason.NO_LUNG, "bad_new": 41, "moved": 42}, run_id="a-old")
    later = FILMS | {"f03": 90, "new_only": 43, "bad_old": 44, "bad_new": Reason.IMPLAUSIBLE_LUNG}
    write_run(out, later | {"moved": Reason.CHANGED}, run_id="b-new", bundle=NEW_BUNDLE)
    return ResultsRoot.at(str(out))


def compare(root: ResultsRoot, **options: object) -> tuple[Comparison, pd.DataFrame]:
    old, new = (BundleRows(root, bundle.partition) for bundle in (OLD_BUNDLE, NEW_BUNDLE))
    with open_comparison(old, new, **options) as (got, films):  # type: ignore[arg-type]
        return got, pq.read_table(io.BytesIO(films.parquet())).to_pandas()


def test_each_film_has_one_outcome_and_replaced_objects_are_listed(root: ResultsRoot) -> None:
    got, films = compare(root)
    by_name = {
        uri.removeprefix("s3://b/"): outcome for uri, outcome in zip(films["uri"], films["outcome"], strict=True)
    }
    assert by_name == dict.fromkeys(FILMS, "compared") | {
        "f03": "changed", "moved": "changed", "old_only": "only_old", "new_only": "only_new",
        "bad_old": "rejected_old", "bad_new": "rejected_new",
    }  # fmt: skip
    assert got.changed == ("s3://b/f03", "s3://b/moved")
    assert {(reject.by, reject.reason, reject.films) for reject in got.rejections} == {
        (Outcome.REJECTED_NEW, "implausible_lung", 1),
        (Outcome.REJECTED_OLD, "no_lung", 1),
    }
    assert sum(films for _, films in got.outcomes) == len(films)
    assert got.same_settings


def test_figures_equal_those_of_pandas_on_the_two_cohorts(root: ResultsRoot) -> None:
    got, _ = compare(root)
    old, new = (cohort.load(root.root, bundle=bundle.partition).set_index("uri") for bundle in (OLD_BUNDLE, NEW_BUNDLE))
    both = old.merge(new, left_index=True, right_index=True, suffixes=("_old", "_new"))
    both = both[both["content_digest_old"] == both["content_digest_new"]]
    difference = both["percent_infected_new"].astype(float) - both["percent_infected_old"].astype(float)
    assert got.percent.films == len(both) == got.count(Outcome.COMPARED) == 23
    mean, spread = difference.mean(), difference.std(ddof=1)
    expected = (mean, spread, mean - 1.96 * spread, mean + 1.96 * spread)
    limits = (got.percent.mean, got.percent.spread, got.percent.lower, got.percent.upper)
    assert limits == pytest.approx(expected, abs=1e-3)
    for cells, column in ((got.classes, "class_label"), (got.grades, "grade")):
        pairs = Counter(zip(both[f"{column}_old"], both[f"{column}_new"], strict=True))
        assert {(cell.old, cell.new): cell.films for cell in cells} == pairs
    assert got.class_changes == (both["class_label_old"].astype(str) != both["class_label_new"].astype(str)).sum() > 0
    largest = [abs(change.difference) for change in got.most_changed]
    assert largest == sorted(largest, reverse=True)
    assert largest[0] == pytest.approx(np.abs(difference).max(), abs=1e-3)
    assert all(change.new - change.old == pytest.approx(change.difference, abs=1e-3) for change in got.most_changed)


def test_comparison_file_has_the_schema_and_is_reproducible(root: ResultsRoot) -> None:
    with open_comparison(BundleRows(root, OLD_BUNDLE.partition), BundleRows(root, NEW_BUNDLE.partition)) as (_, films):
        data = films.parquet()
    assert pq.read_schema(io.BytesIO(data)).equals(COMPARISON, check_metadata=True)
    with open_comparison(BundleRows(root, OLD_BUNDLE.partition), BundleRows(root, NEW_BUNDLE.partition)) as (_, films):
        assert films.parquet() == data
    uris = pq.read_table(io.BytesIO(data))["uri"].to_pylist()
    assert uris == sorted(uris)


def test_comparison_can_be_limited_to_a_selection(root: ResultsRoot) -> None:
    chosen = select(root, OLD_BUNDLE.partition, Criteria(limit=5))
    selection = write_selection(chosen, source=root, partition=OLD_BUNDLE.partition, out=root, run_id="some")
    got, films = compare(root, only=selection.uri)
    assert len(films) == sum(count for _, count in got.outcomes) == 5
    assert set(films["uri"]) == set(chosen["uri"].to_pylist())


def test_reject_of_the_newest_run_counts_whatever_the_run_ids(tmp_path: Path) -> None:
    write_run(tmp_path, {"a": 1, "b": 2}, run_id="old")
    # The runs of the new bundle are in the reverse order of their ids.
    write_run(tmp_path, {"a": Reason.FETCH_FAILED, "b": Reason.CHANGED}, run_id="z-first", bundle=NEW_BUNDLE)
    write_run(tmp_path, {"a": Reason.NO_LUNG, "b": Reason.TOO_SMALL}, run_id="archive-p0001", bundle=NEW_BUNDLE)
    _, films = compare(ResultsRoot.at(str(tmp_path)))
    assert films["outcome"].tolist() == ["rejected_new", "rejected_new"]
    assert films["reason"].tolist() == ["no_lung", "too_small"]


def test_comparing_a_bundle_with_itself_is_refused(root: ResultsRoot) -> None:
    side = BundleRows(root, OLD_BUNDLE.partition)
    with pytest.raises(UsageError, match="twice"), open_comparison(side, side):
        pass


def uris(root: ResultsRoot, **criteria: object) -> set[str]:
    return set(select(root, OLD_BUNDLE.partition, Criteria(**criteria))["uri"].to_pylist())  # type: ignore[arg-type]


def test_films_are_selected_by_class_grade_month_and_condition(root: ResultsRoot) -> None:
    films = cohort.load(root.root, bundle=OLD_BUNDLE.partition)

    def those(mask: pd.Series) -> set[str]:  # type: ignore[type-arg]
        return set(films[mask]["uri"])

    infected = [Grade.MILD, Grade.MODERATE]
    assert uris(root, classes=(FilmClass.COVID19,)) == those(films["class_label"] == "covid19")
    assert uris(root, grades=tuple(infected)) == those(films["grade"].isin(["mild", "moderate"]))
    assert uris(root, months=("2021",)) == those(films["study_date"].dt.year == 2021)
    assert uris(root, months=("2020-01", "2021-02")) == those(
        films["study_date"].dt.strftime("%Y-%m").isin(["2020-01", "2021-02"])
    )
    assert uris(root, where="percent_infected > 0 or p_normal > 0.5") == those(
        (films["percent_infected"] > 0) | (films["p_normal"] > 0.5)
    )
    both = uris(root, classes=(FilmClass.COVID19,), where="percent_infected > 0")
    assert both == those((films["class_label"] == "covid19") & (films["percent_infected"] > 0))
    newest = films[films["study_date"].notna()].sort_values(["study_date", "uri"], ascending=[False, True])
    assert uris(root, limit=3) == set(newest["uri"].head(3))


@pytest.mark.parametrize(
    ("criteria", "said"),
    [
        (Criteria(where="no_such_column > 1"), "no_such_column"),
        (Criteria(where="uri in (select * from read_csv('/etc/hostname'))"), "condition"),
        (Criteria(where="percent_infected > 1000"), "no scored film"),
        (Criteria(months=("2020-13",)), "2020-13"),
    ],
)
def test_invalid_or_empty_criteria_are_usage_errors(root: ResultsRoot, criteria: Criteria, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        select(root, OLD_BUNDLE.partition, criteria)


def test_selection_is_a_source_with_the_version_of_each_row(root: ResultsRoot) -> None:
    chosen = select(root, OLD_BUNDLE.partition, Criteria())
    selection = write_selection(chosen, source=root, partition=OLD_BUNDLE.partition, out=root, run_id="again")
    listed = list(list_sources([selection.source]))
    assert ImageRef("s3://b/f03", f"etag:{etag(3)}", None) in listed
    assert len(listed) == selection.films == chosen.num_rows
    assert read_selection(root, "again") == selection
    with pytest.raises(UsageError, match="no selection"):
        read_selection(root, "b-new")


def test_only_the_newest_version_of_a_replaced_object_is_selected(tmp_path: Path) -> None:
    write_run(tmp_path, {"a": 1, "b": 2}, run_id="a")
    write_run(tmp_path, {"a": 3, "b": 2}, run_id="b")
    chosen = select(ResultsRoot.at(str(tmp_path)), OLD_BUNDLE.partition, Criteria()).to_pylist()
    assert [(row["uri"], row["version_token"]) for row in chosen] == [
        ("s3://b/a", f"etag:{etag(3)}"),
        ("s3://b/b", f"etag:{etag(2)}"),
    ]


def test_bundle_is_required_where_there_are_several(root: ResultsRoot) -> None:
    with pytest.raises(UsageError, match="several bundles"):
        require_one_partition(root, None)
    assert require_one_partition(root, NEW_BUNDLE.partition) == NEW_BUNDLE.partition


def test_films_without_a_study_date_match_no_month(root: ResultsRoot) -> None:
    dated = [row for row in cohort.load(root.root, bundle=OLD_BUNDLE.partition)["study_date"] if not pd.isna(row)]
    years = tuple(sorted({str(date.year) for date in dated}))
    assert len(uris(root, months=years)) == len(dated)
    assert dt.date(int(years[0]), 1, 1) <= min(dated).date()
    assert dataclasses.asdict(Criteria(months=years))["months"] == years
