"""The layout of a results root: every key is spelled here, and nowhere else.

A *key* is the path of an object below the root, ``/`` between folders. `cxrlib.results.objects.ResultsRoot` gets and
puts objects by key::

    scores/bundle=<name>-<digest8>/part-<chunk id>.parquet    rows of scored films, one object per chunk
    rejects/bundle=<name>-<digest8>/part-<chunk id>.parquet   rows of rejected films of the same chunk
    overlays/bundle=<name>-<digest8>/<content digest>.png     drawings of the masks, on request
    _runs/<run id>/plan.parquet, manifest.json                what a run plans; written last, what it did
    _runs/<run id>/comparison.parquet, comparison.md          how a rescoring differs from the old rows
    _selections/<run id>.parquet                              the films that a rescoring scores
    _backfills/<id>/backfill.json, control.json               the manifest of a backfill; a request to pause it
    _backfills/<id>/parts/<part>.parquet                      inventory of a part, the source of its run
    _backfills/<id>/failures/<part>.json                      why the last try at a part failed
    _backfills/.dry-run-<token>/                              results root of a dry run's sample, removed afterwards
    _leases/<scope>/<epoch>.json                              who may write rows of one bundle and configuration
    _leases/<scope>/waiting/<token>.json                      a run that waits for that lease
    _compact/                                                 a compacted copy that is still being made

Folders whose names start with ``_`` hold no rows: ``pandas.read_parquet(root + "/scores")`` is right at every moment.
A *partition* is the folder of one bundle, ``<name>-<first 8 digits of its digest>``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

RUNS: Final = "_runs"
SELECTIONS: Final = "_selections"
BACKFILLS: Final = "_backfills"
OVERLAYS: Final = "overlays"
LEASES: Final = "_leases"
#: Folder in which a compacted copy is staged.
STAGE: Final = "_compact"
#: Exists as long as a root is a copy that is not complete.
UNFINISHED_COPY: Final = f"{STAGE}/unfinished.json"
#: Inventory of the sample of a dry run, in its own temporary results root.
SAMPLE: Final = "sample.parquet"
#: Name of a closed run's record in its folder.
MANIFEST_NAME: Final = "manifest.json"

_PARTITION: Final = "bundle="
_PART: Final = "part-"
_COMPACT: Final = "compact-"
_PARQUET: Final = ".parquet"
_JSON: Final = ".json"


class RowKind(StrEnum):
    """The two kinds of rows, and the folder of each. A chunk has one object of each kind."""

    SCORES = "scores"
    REJECTS = "rejects"


def partition_name(bundle_name: str, bundle_digest: str) -> str:
    """Return the partition of a bundle: ``<name>-<digest8>``."""
    return f"{bundle_name}-{bundle_digest[:8]}"


def partition_folder(kind: RowKind, partition: str) -> str:
    """Return the folder of one bundle's objects of one kind."""
    return f"{kind}/{_PARTITION}{partition}"


def partition_of_folder(name: str) -> str | None:
    """Return the partition that a folder holds, by the folder's name; None where it holds none."""
    return name.removeprefix(_PARTITION) if name.startswith(_PARTITION) else None


def chunk_key(kind: RowKind, partition: str, chunk_id: str) -> str:
    """Return the key of a chunk's scores or rejects."""
    return f"{partition_folder(kind, partition)}/{_PART}{chunk_id}{_PARQUET}"


def chunk_of_object(name: str) -> str | None:
    """Return the chunk id in an object's name (not its key); None where the object is no chunk's."""
    if not (name.startswith(_PART) and name.endswith(_PARQUET)):
        return None
    return name.removeprefix(_PART).removesuffix(_PARQUET)


def compact_id(number: int) -> str:
    """Return the name of a compacted object, which holds rows of many chunks, in place of a chunk id."""
    return f"{_COMPACT}{number:05d}"


def is_compacted(chunk_id: str) -> bool:
    """Return whether the object that has this name in place of a chunk id holds rows of many chunks."""
    return chunk_id.startswith(_COMPACT)


def staged_key(key: str) -> str:
    """Return where the object `key` is staged while a copy is made."""
    return f"{STAGE}/{key}"


def unstaged_key(key: str) -> str:
    """Return the key that a staged object gets at the end."""
    return key.removeprefix(f"{STAGE}/")


def overlay_key(partition: str, content_digest: str) -> str:
    """Return the key of a film's overlay; `content_digest` is that of its row."""
    return f"{OVERLAYS}/{_PARTITION}{partition}/{content_digest}.png"


def run_folder(run_id: str) -> str:
    """Return the folder of a run's records."""
    return f"{RUNS}/{run_id}"


def plan_key(run_id: str) -> str:
    """Return the key of a run's plan."""
    return f"{run_folder(run_id)}/plan{_PARQUET}"


def manifest_key(run_id: str) -> str:
    """Return the key of a run's manifest."""
    return f"{run_folder(run_id)}/{MANIFEST_NAME}"


def comparison_key(run_id: str) -> str:
    """Return the key of a rescoring's comparison, one row per film."""
    return f"{run_folder(run_id)}/comparison{_PARQUET}"


def comparison_page_key(run_id: str) -> str:
    """Return the key of a rescoring's comparison, as a page of Markdown."""
    return f"{run_folder(run_id)}/comparison.md"


def selection_key(run_id: str) -> str:
    """Return the key of the films that a rescoring scores."""
    return f"{SELECTIONS}/{run_id}{_PARQUET}"


def backfill_manifest_key(backfill_id: str) -> str:
    """Return the key of a backfill's manifest."""
    return f"{BACKFILLS}/{backfill_id}/backfill{_JSON}"


def pause_key(backfill_id: str) -> str:
    """Return the key of the request to pause a backfill."""
    return f"{BACKFILLS}/{backfill_id}/control{_JSON}"


def inventory_key(backfill_id: str, part: str) -> str:
    """Return the key of the inventory of a backfill's part."""
    return f"{BACKFILLS}/{backfill_id}/parts/{part}{_PARQUET}"


def failures_folder(backfill_id: str) -> str:
    """Return the folder of the failures of a backfill's parts."""
    return f"{BACKFILLS}/{backfill_id}/failures"


def failure_key(backfill_id: str, part: str) -> str:
    """Return the key of the failure of a backfill's part."""
    return f"{failures_folder(backfill_id)}/{part}{_JSON}"


def part_of_failure(name: str) -> str:
    """Return the part whose failure the object of this name (not its key) holds."""
    return name.removesuffix(_JSON)


def dry_run_folder(token: str) -> str:
    """Return the folder of a dry run's sample. A name that starts with a dot is not listed as a backfill."""
    return f"{BACKFILLS}/.dry-run-{token}"


def lease_folder(scope: str) -> str:
    """Return the folder of a scope's lease; a scope is a partition and a configuration."""
    return f"{LEASES}/{scope}"


def lease_key(scope: str, name: str) -> str:
    """Return the key of one object of a lease's chain."""
    return f"{lease_folder(scope)}/{name}"


def waiting_folder(scope: str) -> str:
    """Return the folder of the runs that wait for a scope's lease."""
    return f"{lease_folder(scope)}/waiting"


def waiter_key(scope: str, token: str) -> str:
    """Return the key of one waiting run's note."""
    return f"{waiting_folder(scope)}/{token}{_JSON}"


def waiter_token(name: str) -> str | None:
    """Return the token in the name (not the key) of a waiting run's note; None where the object is no note."""
    return name.removesuffix(_JSON) if name.endswith(_JSON) else None


def probe_key(token: str) -> str:
    """Return the key of an object that only tests whether the store supports conditional puts."""
    return f"{LEASES}/.probe-{token}"
