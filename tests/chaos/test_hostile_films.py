"""Films that make the decoder crash, hang or take 8 GB, among 300: each is rejected, and no other film is affected."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cxrlib.results.verify import verify
from tests.chaos.hostile_films import hostile_environment
from tests.support.fakes import fake_settings
from tests.support.small_archives import score_films, write_films

REASON_OF = {"segfault": "decoder_died", "hang": "timeout", "eat": "out_of_memory"}
#: Both runs have the same chunks and run id, so that their rows must be equal byte for byte.
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
    score_films(archive, tmp_path / "undisturbed", fake_settings(chunk_size=CHUNK, batch_size=16), run_id="r")
    films = sorted(path for path in archive.rglob("*") if path.is_file())
    chosen = {films[number]: action for number, action in zip((149, 150, 151), REASON_OF, strict=True)}
    for name, value in hostile_environment(chosen).items():
        monkeypatch.setenv(name, value)
    settings = fake_settings(
        chunk_size=CHUNK, batch_size=16, decode_workers=2, decode_memory_mb=2048, film_timeout_s=TIMEOUT_S
    )
    manifest = score_films(archive, tmp_path / "disturbed", settings, run_id="r")
    assert manifest.reasons == dict.fromkeys(sorted(REASON_OF.values()), 1)
    assert manifest.counts.scored == 297

    undisturbed, disturbed = rows(tmp_path / "undisturbed", "scores"), rows(tmp_path / "disturbed", "scores")
    uris = {path.as_uri(): reason for path, reason in zip(chosen, REASON_OF.values(), strict=True)}
    assert len(undisturbed) == 300
    assert {uri: row for uri, row in undisturbed.items() if uri not in uris} == disturbed
    rejects = rows(tmp_path / "disturbed", "rejects")
    assert rejects.keys() == uris.keys()
    assert all(f"'{reason}'".encode() in rejects[uri] for uri, reason in uris.items())
    assert verify(str(tmp_path / "disturbed")).ok
    assert manifest.retryable == 2, (
        "expected timeout and out_of_memory to be retried, because they depend on the machine"
    )

    for name in ("PYTHONPATH", "CXR_TEST_HOSTILE"):
        monkeypatch.delenv(name)
    retried = score_films(archive, tmp_path / "disturbed", settings, run_id="next")
    assert (retried.counts.scored, retried.counts.settled_before) == (2, 298)
