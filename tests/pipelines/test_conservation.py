"""Conservation: every listed object has exactly one outcome, whatever the archive contains."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrlib.results.verify import verify
from tests.support.fakes import fake_settings, film_png
from tests.support.small_archives import BAD_FILES, score_films

#: A file is a good film (its seed) or a bad one (its reason). Files with equal content are duplicates.
CONTENTS = st.one_of(st.integers(0, 5), st.sampled_from(sorted(BAD_FILES)), st.just("missing"))
FILES = st.dictionaries(st.sampled_from([f"d{n % 3}/f{n}" for n in range(24)]), CONTENTS, min_size=1, max_size=24)


def content(kind: int | str) -> bytes:
    return film_png(kind) if isinstance(kind, int) else BAD_FILES[kind]


def expected(kind: int | str) -> str:
    """Return the expected outcome of a file: scored, or the reject reason."""
    return "scored" if isinstance(kind, int) else {"missing": "not_found"}.get(kind, kind)


def write(root: Path, files: dict[str, int | str]) -> Path:
    """Write files, and an inventory with their content digests as etags, as in a bucket."""
    lines = ["uri,size,etag"]
    for name, kind in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = name.encode() if kind == "missing" else content(kind)
        if kind == "missing":
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(data)
        lines.append(f"{name},{len(data)},{hashlib.md5(data, usedforsecurity=False).hexdigest()}")
    inventory = root / "inventory.csv"
    inventory.write_text("\n".join(lines) + "\n")
    return inventory


def outcomes(out: Path) -> dict[tuple[str, str], list[str]]:
    """Return the stored outcome of each object."""
    got: dict[tuple[str, str], list[str]] = {}
    scores, rejects = (pd.read_parquet(out / kind) for kind in ("scores", "rejects"))
    for uri, version in zip(scores["uri"], scores["version"], strict=True):
        got.setdefault((uri, version), []).append("scored")
    for uri, version, reason in zip(rejects["uri"], rejects["version"], rejects["reason"], strict=True):
        got.setdefault((uri, version), []).append(reason)
    return got


@settings(max_examples=int(os.environ.get("CXR_TEST_EXAMPLES", "12")), deadline=None)
@given(FILES, FILES, st.integers(1, 9), st.integers(1, 9))
def test_every_listed_object_has_exactly_the_expected_outcome(
    first: dict[str, int | str], second: dict[str, int | str], chunk_size: int, batch_size: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        chosen = fake_settings(chunk_size=chunk_size, batch_size=batch_size)
        listed: dict[str, int | str] = {}
        for night, files in enumerate((first, second)):
            listed.update(files)
            counts = score_films(write(root / "in", listed), root / "out", chosen, run_id=f"night{night}").counts
            assert counts.listed == len(listed)
            got = outcomes(root / "out")
            for row in pq.read_table(root / f"out/_runs/night{night}/plan.parquet").to_pylist():
                kind = listed.pop(row["uri"].removeprefix(f"file://{root}/in/"))
                original = (row["duplicate_of_uri"] or row["uri"], row["duplicate_of_version"] or row["version"])
                assert got[original] == [expected(kind)], row
            assert not listed
            listed.update({**first, **files})
        report = verify(str(root / "out"))
        assert report.ok, report.problems
