"""The status of a results root: counts that equal those of `verify`, and the work that is left."""

from __future__ import annotations

import datetime as dt
import json
import os
import tempfile
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_flows.cli.exit_codes import Exit
from cxr_flows.cli.main import main
from cxr_schemas import Reason
from cxrlib.errors import RunError, UsageError
from cxrlib.results import compact
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.status import RootStatus, RunState, status
from cxrlib.results.verify import verify
from cxrlib.runs import lease
from cxrlib.runs.lease import LeaseTerms
from tests.support.results_roots import NEW_BUNDLE, OLD_BUNDLE, Content, write_run

FILMS: dict[str, Content] = {f"f{n}": n for n in range(10)}
BAD: dict[str, Content] = {"empty": Reason.EMPTY, "slow": Reason.FETCH_FAILED, "denied": Reason.DENIED}

pytestmark = pytest.mark.usefixtures("no_fsync")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root of two closed runs under two bundles, and one that was interrupted after a chunk."""
    out = tmp_path_factory.mktemp("status") / "out"
    write_run(out, FILMS | BAD, run_id="night1")
    write_run(out, FILMS, run_id="other", bundle=NEW_BUNDLE)
    write_run(out, FILMS | BAD | {"slow": 11} | {f"g{n}": 20 + n for n in range(6)}, run_id="fallen", stop_after=1)
    return out


def assert_agrees_with_verify(got: RootStatus, out: Path) -> None:
    report = verify(str(out))
    closed = [run for run in got.runs if run.state is RunState.SETTLED]
    assert len(closed) == report.runs
    assert tuple(sorted(run.run_id for run in got.runs if run.state is not RunState.SETTLED)) == report.open_runs
    for name in ("listed", "scored", "rejected", "duplicate", "settled_before"):
        assert sum(getattr(run, name) for run in closed) == getattr(report, name), name
    assert (got.score_rows, got.reject_rows) == (report.score_rows, report.reject_rows)
    assert sum(of.films for of in got.coverage) == report.score_rows
    assert sum(of.rows for of in got.rejects) == report.reject_rows
    assert all(run.agrees for run in got.runs)


def test_closed_and_interrupted_runs_are_distinguished_and_counted(root: Path) -> None:
    got = status(str(root))
    assert_agrees_with_verify(got, root)
    night, other, fallen = got.runs
    assert (night.state, night.listed, night.scored, night.rejected, night.retryable) == (
        RunState.SETTLED,
        13,
        10,
        3,
        2,
    )
    assert (other.bundle, night.bundle) == (NEW_BUNDLE.partition, OLD_BUNDLE.partition)
    assert night.films_per_second == 13 / 2
    assert (fallen.state, fallen.closed_at) == (RunState.OPEN, None)
    assert fallen.scored + fallen.rejected + fallen.left == 8, "two to be tried again and six new ones"
    assert fallen.left == 4


def test_coverage_is_by_study_month_and_bundle_with_unknown_dates(root: Path) -> None:
    rows = pd.read_parquet(root / "scores", columns=["study_date", "bundle_digest"])
    expected = Counter(
        (None if pd.isna(date) else date.replace(day=1), digest)
        for date, digest in zip(rows["study_date"], rows["bundle_digest"], strict=True)
    )
    digests = {OLD_BUNDLE.partition: OLD_BUNDLE.digest, NEW_BUNDLE.partition: NEW_BUNDLE.digest}
    got = status(str(root)).coverage
    assert {(of.month, digests[of.bundle]): of.films for of in got} == expected
    assert got[-1].month is None
    dates = [of.month for of in got if of.month is not None]
    assert dates == sorted(dates)
    assert all(date.day == 1 for date in dates)


def test_waiting_rejects_are_those_without_a_final_outcome(tmp_path: Path) -> None:
    def waiting() -> dict[str, tuple[int, int]]:
        return {of.reason: (of.rows, of.waiting) for of in status(str(tmp_path)).rejects}

    write_run(tmp_path, FILMS | BAD, run_id="a")
    assert waiting() == {"denied": (1, 1), "empty": (1, 0), "fetch_failed": (1, 1)}
    write_run(tmp_path, FILMS | BAD, run_id="b")
    assert waiting() == {"denied": (2, 1), "empty": (1, 0), "fetch_failed": (2, 1)}

    def heal(content: Content, *rest: object) -> object:
        from tests.support.results_roots import fake_outcome

        ref, bundle = rest
        healed: Content = (
            5 if content is Reason.DENIED else Reason.NO_LUNG if content is Reason.FETCH_FAILED else content
        )
        return fake_outcome(healed, ref, bundle)  # type: ignore[arg-type]

    write_run(tmp_path, FILMS | BAD, run_id="c", outcome=heal)  # type: ignore[arg-type]
    assert waiting() == {"denied": (2, 0), "fetch_failed": (2, 0), "empty": (1, 0), "no_lung": (1, 0)}
    assert status(str(tmp_path)).waiting == 0


def test_run_with_a_held_lease_is_held(root: Path) -> None:
    results = ResultsRoot.at(str(root))
    held = lease.acquire(results, "scope", "fallen", LeaseTerms(ttl_s=60))
    got = status(str(root))
    assert [run.state for run in got.runs if run.run_id == "fallen"] == [RunState.HELD]
    assert [(of.run_id, of.alive) for of in got.holders] == [("fallen", True)]
    lease.release(results, held)
    assert status(str(root)).holders == ()


def test_run_of_a_part_names_its_backfill(tmp_path: Path) -> None:
    write_run(tmp_path, FILMS, run_id="archive-p0001")
    write_run(tmp_path, FILMS | {"new": 30}, run_id="archive-p0002", stop_after=0)
    results = ResultsRoot.at(str(tmp_path))
    held = lease.acquire(results, "scope", "archive", LeaseTerms(ttl_s=60))
    first, second = status(results.root).runs
    assert (first.backfill, first.part, first.state) == ("archive", "p0001", RunState.SETTLED)
    assert (second.part, second.state, second.left) == ("p0002", RunState.HELD, 1)
    lease.release(results, held)


def test_manifest_with_wrong_counts_does_not_agree(tmp_path: Path) -> None:
    write_run(tmp_path, FILMS, run_id="r")
    path = tmp_path / "_runs/r/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["counts"]["scored"] -= 1
    manifest["counts"]["rejected"] += 1
    path.write_text(json.dumps(manifest))
    assert [run.agrees for run in status(str(tmp_path)).runs] == [False]


@settings(max_examples=int(os.environ.get("CXR_TEST_EXAMPLES", "3")), deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([f"f{n}" for n in range(12)]),
        st.one_of(st.integers(0, 9), st.sampled_from([Reason.EMPTY, Reason.FETCH_FAILED])),
        min_size=1,
    ),
    st.integers(1, 5),
    st.integers(0, 2),
)
def test_counts_equal_those_of_verify_before_and_after_compaction(
    contents: dict[str, Content], chunk_size: int, stop_after: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out, copy = Path(folder, "out"), Path(folder, "copy")
        write_run(out, contents, run_id="first", chunk_size=chunk_size)
        write_run(out, contents | {"late": 11}, run_id="fallen", chunk_size=chunk_size, stop_after=stop_after)
        before = status(str(out))
        assert_agrees_with_verify(before, out)
        compact.compact(str(out), str(copy))
        after = status(str(copy))
        assert (after.runs, after.coverage, after.rejects) == (before.runs, before.coverage, before.rejects)


def test_command_prints_tables_and_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(root)]) == Exit.SETTLED
    text = capsys.readouterr().out
    for part in ("night1", "fallen", OLD_BUNDLE.partition, "unknown", "fetch_failed", "wait for another try"):
        assert part in text
    assert main(["status", str(root), "--json"]) == Exit.SETTLED
    document = json.loads(capsys.readouterr().out)
    assert [run["state"] for run in document["runs"]] == ["settled", "settled", "open"]
    assert {of["month"] for of in document["coverage"]} >= {None, str(dt.date(2020, 1, 1))}


def test_folder_without_runs_and_incomplete_copy_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a results root"):
        status(str(tmp_path))
    ResultsRoot.at(str(tmp_path)).begin_copy(b"{}")
    with pytest.raises(RunError, match="incomplete copy"):
        status(str(tmp_path))
