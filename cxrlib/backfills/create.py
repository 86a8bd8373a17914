"""Create a backfill: split its archive, store the inventory of each part, then store the manifest."""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow.parquet as pq

from cxr_schemas import BackfillManifest, Cut
from cxrlib import __version__
from cxrlib.backfills import stored
from cxrlib.backfills.split import SplitArchive, split_archive
from cxrlib.errors import RunError, UsageError
from cxrlib.models.bundle import Bundle
from cxrlib.results import layout
from cxrlib.results.objects import ResultsRoot
from cxrlib.settings import Settings

#: Settings that a manifest leaves out: the site's key, and its path, which differs from machine to machine.
_NOT_STORED: Final = {"privacy": {"key", "key_file"}}


@dataclass(frozen=True, slots=True)
class BackfillRequest:
    """What to backfill, and how.

    Attributes
    ----------
    backfill_id : str
    sources : tuple of str
        As `cxrlib.archive.listing.list_sources` takes them.
    cut : Cut
    settings : Settings
    runner : str
        Runner of each part, which is one job (`cxr_pipelines.runner_choice`).
    beam_options : tuple of str
    """

    backfill_id: str
    sources: tuple[str, ...]
    cut: Cut
    settings: Settings
    runner: str = "local"
    beam_options: tuple[str, ...] = ()


def start_backfill(results: ResultsRoot, request: BackfillRequest, bundle: Bundle) -> BackfillManifest:
    """Split the archive of `request` into parts, and store their inventories and the manifest.

    A backfill of the same id that has no manifest, because its creation was interrupted, is created again.

    Raises
    ------
    UsageError
        The id is not valid or is taken, a source cannot be listed, or there would be too many parts.
    """
    stored.check_backfill_id(request.backfill_id)
    if stored.read_backfill(results, request.backfill_id) is not None:
        raise UsageError(f"the backfill {request.backfill_id} exists already; resume it, or choose another id")
    with split_archive(request.sources, results, request.cut) as archive:
        for entry in archive.parts:
            results.put(layout.inventory_key(request.backfill_id, entry.part), inventory_bytes(archive, entry.part))
        manifest = BackfillManifest(
            backfill_id=request.backfill_id,
            sources=request.sources,
            cut=request.cut,
            settings=stored_settings(request.settings),
            bundle_name=bundle.card.bundle.name,
            bundle_digest=bundle.digest,
            partition=bundle.partition,
            config_digest=request.settings.digest(),
            runner=request.runner,
            beam_options=request.beam_options,
            software_version=__version__,
            created_at=datetime.now(UTC),
            listed=archive.listed,
            repeated=archive.repeated,
            parts=archive.parts,
        )
    stored.write_backfill(results, manifest)
    return manifest


def stored_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings as a manifest holds them: plain JSON values, without the site's key."""
    return settings.model_dump(mode="json", exclude=_NOT_STORED)


def check_settings(manifest: BackfillManifest, settings: Settings, bundle: Bundle) -> None:
    """Raise `RunError` where a backfill would continue with another bundle, or with settings that give other rows."""
    asked = {
        "bundle": (manifest.bundle_digest, bundle.digest),
        "settings (the site's key is one of them)": (manifest.config_digest, settings.digest()),
    }
    for what, (expected, got) in asked.items():
        if expected != got:
            raise RunError(
                f"the backfill {manifest.backfill_id} was started with {what} {expected}; got {got}: its parts would "
                "not agree. Give what it was started with, or start another backfill"
            )


def inventory_bytes(archive: SplitArchive, part: str) -> bytes:
    """Return the inventory of a part as it is stored."""
    sink = io.BytesIO()
    pq.write_table(archive.inventory(part), sink, compression="zstd")
    return sink.getvalue()
