"""Films whose decoder crashes, hangs or asks for 8 GB, in the middle of 300: each costs itself and nothing else."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cxrlib.results.verify import verify
from tests.chaos.hostile_films import hostile_environment
from tests.support.fakes import fake_settings
from tests.support.small_archives import score_films, write_films

DOES = {"segfault": "decoder_died", "hang": "timeout", "eat": "out_of_memory"}
#: The same chunks and run id in both runs, so that rows may be compared to the last byte.
CHUNK = 100
TIMEOUT_S = 6.0


def rows(out: Path, kind: str) -> dict[str, bytes]:
    """Return each row as bytes, by URI."""
    found: dict[str, bytes] = {}
    for path in sorted((out / kind).rglob("part-*.parquet")):
        table = pq.read_table(path)
        for number, uri in enumerate(table["uri"].to_pylist()):
            found[uri] = repr(table.slice(number, 1).to_pylist()).encode()
    return found


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_films(tmp_path_factory.mktemp("archive"), good=300, bad=())


def test_each_hostile_film_of_300_is_rejected_alone(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score_films(archive, tmp_path / "calm", fake_settings(chunk_size=CHUNK, batch_size=16), run_id="r")
    films = sorted(path for path in archive.rglob("*") if path.is_file())
    chosen = {films[number]: what for number, what in zip((149, 150, 151), DOES, strict=True)}
    for name, value in hostile_environment(chosen).items():
        monkeypatch.setenv(name, value)
    settings = fake_settings(
        chunk_size=CHUNK, batch_size=16, decode_workers=2, decode_memory_mb=2048, film_timeout_s=TIMEOUT_S
    )
    manifest = score_films(archive, tmp_path / "stormy", settings, run_id="r")
    assert manifest.reasons == dict.fromkeys(sorted(DOES.values()), 1)
    assert manifest.counts.scored == 297

    calm, stormy = rows(tmp_path / "calm", "scores"), rows(tmp_path / "stormy", "scores")
    uris = {path.as_uri(): reason for path, reason in zip(chosen, DOES.values(), strict=True)}
    assert len(calm) == 300
    assert {uri: row for uri, row in calm.items() if uri not in uris} == stormy
    rejects = rows(tmp_path / "stormy", "rejects")
    assert rejects.keys() == uris.keys()
    assert all(f"'{reason}'".encode() in rejects[uri] for uri, reason in uris.items())
    assert verify(str(tmp_path / "stormy")).ok
    assert manifest.retryable == 2, "time and memory are the machine's: those two are tried again"

    for name in ("PYTHONPATH", "CXR_TEST_HOSTILE"):
        monkeypatch.delenv(name)
    healed = score_films(archive, tmp_path / "stormy", settings, run_id="next")
    assert (healed.counts.scored, healed.counts.settled_before) == (2, 298)
