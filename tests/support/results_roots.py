"""Results roots of runs that are planned, settled and closed by the library alone, without Beam or a network."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from cxr_schemas import FilmClass, Reason, RunManifest
from cxrlib.models.bundle import Bundle
from cxrlib.results import layout
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs.chunks import Outcome, settle
from cxrlib.runs.plan import open_chunk
from cxrlib.runs.run import close_run, start_run
from cxrlib.types import ImageRef, RejectedFilm
from tests.support.fakes import fake_bundle, fake_settings
from tests.support.scored_films import scored_film

#: Content of an object: a film by its number, or the reason why it is rejected. Equal contents are copies.
Content = int | Reason

OLD_BUNDLE = fake_bundle()
#: Another model, with another digest and so another folder of rows.
NEW_BUNDLE = fake_bundle(1 << 250)


def etag(content: Content) -> str:
    """Return the entity tag that a bucket would give to a content."""
    return hashlib.md5(str(content).encode(), usedforsecurity=False).hexdigest()


def fake_outcome(content: Content, ref: ImageRef, bundle: Bundle = OLD_BUNDLE) -> Outcome:
    """Return a film's outcome. Its number decides date, class and infection; the bundle changes the last two."""
    if isinstance(content, Reason):
        return RejectedFilm(ref, content, "expected a film; got none")
    seed = zlib.crc32(f"{content} {bundle.digest}".encode())
    label = list(FilmClass)[seed % 3]
    film = scored_film(
        ref.uri,
        version=ref.version,
        content=str(content),
        infected=seed % 2 == 0,
        classes={of: 0.8 if of is label else 0.1 for of in FilmClass},
    )
    date = None if content % 5 == 4 else dt.date(2020 + content % 3, 1 + content % 12, 1 + content % 28)
    image = dataclasses.replace(film.image, facts=dataclasses.replace(film.image.facts, study_date=date))
    return dataclasses.replace(film, ref=ref, image=image)


def write_run(
    out: Path | str,
    contents: Mapping[str, Content],
    *,
    run_id: str,
    bundle: Bundle = OLD_BUNDLE,
    chunk_size: int = 4,
    stop_after: int | None = None,
    outcome: Callable[[Content, ImageRef, Bundle], Outcome] = fake_outcome,
) -> RunManifest | None:
    """Run over an inventory of ``s3://b/<name>`` with `contents`.

    Return the manifest, or None for a run that stops after `stop_after` settled chunks, as if it had crashed.
    """
    results = ResultsRoot.at(str(out))
    by_uri = {f"s3://b/{name}": content for name, content in contents.items()}
    lines = ["uri,size,etag", *(f"{uri},1000,{etag(content)}" for uri, content in by_uri.items())]
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as inventory:
        inventory.write("\n".join(lines) + "\n")
        inventory.flush()
        settings = fake_settings(chunk_size=chunk_size)
        run = start_run([inventory.name], results, settings, bundle, run_id)
    chunks = run.unsettled()
    for chunk in chunks[:stop_after]:
        refs = open_chunk(results.uri(layout.plan_key(run_id)), chunk)
        outcomes = [outcome(by_uri[ref.uri], ref, bundle) for ref in refs]
        settle(results, bundle.partition, chunk, outcomes, run.provenance)
    if stop_after is not None:
        return None
    films = sum(chunk.films for chunk in chunks)
    return close_run(run, runner="none", settled_here=len(chunks), films_here=films, seconds=2.0)


def chunk_objects(out: Path) -> dict[str, bytes]:
    """Return the chunk objects below a local results root, by relative path."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for kind in ("scores", "rejects")
        for path in sorted((out / kind).rglob("part-*.parquet"))
    }
