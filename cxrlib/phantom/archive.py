"""Write an archive of phantoms of any size, with a table of the expected result of every object."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from functools import partial
from typing import Any, Final

import cv2
import fsspec
import numpy as np
import pandas as pd
from fsspec.core import url_to_fs

from cxrlib.errors import UsageError
from cxrlib.extras import missing_extra
from cxrlib.phantom.bad_films import BadKind, make_bad_film
from cxrlib.phantom.dicom_style import MIXED_STYLES, DicomStyle
from cxrlib.phantom.encode import encode_dicom, encode_jpeg, encode_mask, encode_png, study_date
from cxrlib.phantom.film import make_phantom


class ImageFormat(StrEnum):
    """Formats of films other than DICOM."""

    PNG_8 = "png8"
    PNG_16 = "png16"
    JPEG = "jpeg"


Style = DicomStyle | ImageFormat

#: All DICOM styles of `MIXED_STYLES`, and the three other formats.
DEFAULT_STYLES: Final[tuple[Style, ...]] = (*MIXED_STYLES, *ImageFormat)

#: Value of `ObjectTruth.expected` for a film that can be scored; other objects have a reason code.
SCORED: Final = "scored"

#: Rows and columns of films if the caller sets neither.
_SIZES: Final = ((1024, 1024), (1024, 840), (1260, 1024), (768, 768), (1500, 1240), (640, 800))
_SUFFIXES: Final = {ImageFormat.PNG_8: ".png", ImageFormat.PNG_16: ".png", ImageFormat.JPEG: ".jpg"}
_ITEMS_PER_TASK: Final = 8


@dataclass(frozen=True, slots=True)
class ObjectTruth:
    """Expected result of one object; a row of ``truth.parquet``.

    Attributes
    ----------
    uri : str
        URI as in a listing of the archive.
    path : str
        Path relative to the archive's root.
    seed : int
        Seed of the phantom.
    expected : str
        ``scored``, or the reason code of the expected reject.
    film_class, percent, percent_left, percent_right, rows, columns
        Class, percent infected (0 to 100; both lungs, left, right) and size in pixels; None if it cannot be scored.
    transfer_syntax : str or None
        UID; None for PNG and JPEG.
    bytes : int
        Size of the object.
    """

    uri: str
    path: str
    seed: int
    expected: str
    film_class: str | None
    percent: float | None
    percent_left: float | None
    percent_right: float | None
    rows: int | None
    columns: int | None
    transfer_syntax: str | None
    bytes: int


@dataclass(frozen=True, slots=True)
class ArchiveSummary:
    """Summary of a written archive.

    Attributes
    ----------
    films_uri, truth_uri : str
        Folder of the objects, and the Parquet file of `ObjectTruth` rows.
    films, bad : int
        Number of objects that can be scored, and of those that cannot.
    bytes : int
        Size of all objects in bytes.
    transfer_syntaxes : tuple of str
        UIDs of the films that can be scored, sorted.
    """

    films_uri: str
    truth_uri: str
    films: int
    bad: int
    bytes: int
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Options of an archive. They and its number determine every object."""

    root: str
    seed: int
    rows: int | None
    columns: int | None
    styles: tuple[Style, ...]
    masks: bool


@dataclass(frozen=True, slots=True)
class _Item:
    """One object: film `number`, or bad object `number` of the given kind."""

    number: int
    kind: BadKind | None


def write_archive(
    uri: str,
    count: int,
    *,
    seed: int = 0,
    rows: int | None = None,
    columns: int | None = None,
    bad: int = 0,
    workers: int | None = None,
    styles: Sequence[Style] = DEFAULT_STYLES,
    masks: bool = False,
) -> ArchiveSummary:
    """Write `count` films that can be scored, and `bad` objects that cannot, to ``<uri>/films``.

    Film n depends only on (seed, n) and the options, so a larger archive with the same seed begins with the smaller
    one. Styles and kinds of bad objects alternate. ``<uri>/truth.parquet`` is written last.

    Parameters
    ----------
    uri : str
        Folder on any fsspec file system.
    rows, columns : int, optional
        Size of each film in pixels. If only one is given, films are square; if none is, sizes are mixed.
    workers : int, optional
        Number of processes; default one per core. ``memory://`` is always written by this process.
    styles : sequence
        Formats, used in turn.
    masks : bool
        Also write both masks of film ``films/x.dcm`` to ``masks/x.lung.png`` and ``masks/x.infection.png``.

    Raises
    ------
    UsageError
        A negative count or seed, no style, or a URI that cannot be written to.
    """
    if count < 0 or bad < 0 or seed < 0 or not styles:
        raise UsageError(
            "expected counts and a seed of at least 0, and at least one style; "
            f"got count {count}, bad {bad}, seed {seed}, {len(styles)} styles"
        )
    try:
        filesystem, path = url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise missing_extra(uri, error) or UsageError(f"no file system can open {uri}: {error}") from error
    root = str(filesystem.unstrip_protocol(path)).rstrip("/")
    plan = _Plan(root, seed, rows or columns, columns or rows, tuple(styles), masks)
    items = [*(_Item(n, None) for n in range(count)), *(_Item(n, tuple(BadKind)[n % len(BadKind)]) for n in range(bad))]
    workers = workers or os.cpu_count() or 1
    if isinstance(filesystem, fsspec.get_filesystem_class("memory")) or len(items) <= _ITEMS_PER_TASK:
        workers = 1
    truth = sorted(_write_all(plan, items, workers), key=lambda row: row.uri)
    table = pd.DataFrame([asdict(row) for row in truth], columns=[field.name for field in fields(ObjectTruth)])
    table = table.astype(dict.fromkeys(("rows", "columns"), "Int64"))
    with filesystem.open(f"{path.rstrip('/')}/truth.parquet", "wb") as file:
        table.to_parquet(file, index=False)
    scorable = [row for row in truth if row.expected == SCORED]
    return ArchiveSummary(
        films_uri=f"{root}/films",
        truth_uri=f"{root}/truth.parquet",
        films=len(scorable),
        bad=len(truth) - len(scorable),
        bytes=sum(row.bytes for row in truth),
        transfer_syntaxes=tuple(sorted({row.transfer_syntax for row in scorable if row.transfer_syntax})),
    )


def _write_all(plan: _Plan, items: list[_Item], workers: int) -> Iterator[ObjectTruth]:
    write = partial(_write, plan)
    if workers == 1:
        yield from map(write, items)
        return
    # Forked processes would inherit the locks of fsspec's event loop. Spawned ones do not, but need its settings.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _prepare, (dict(fsspec.config.conf),)) as pool:
        yield from pool.map(write, items, chunksize=_ITEMS_PER_TASK)


def _prepare(settings: dict[str, Any]) -> None:
    fsspec.config.conf.update(settings)
    cv2.setNumThreads(1)


def _write(plan: _Plan, item: _Item) -> ObjectTruth:
    return _write_film(plan, item.number) if item.kind is None else _write_bad(plan, item.number, item.kind)


def _write_film(plan: _Plan, number: int) -> ObjectTruth:
    film_seed = _film_seed(plan.seed, number)
    style = plan.styles[number % len(plan.styles)]
    rows, columns = _size(plan, number)
    phantom = make_phantom(film_seed, rows=rows, columns=columns)
    if isinstance(style, DicomStyle):
        data, suffix, syntax = encode_dicom(phantom, style), ".dcm", str(style.syntax.value)
    else:
        data = (
            encode_jpeg(phantom)
            if style is ImageFormat.JPEG
            else encode_png(phantom, 8 if style is ImageFormat.PNG_8 else 16)
        )
        suffix, syntax = _SUFFIXES[style], None
    stem = f"{study_date(film_seed):%Y}/PHANTOM-{film_seed:06d}/film-{number:06d}"
    path = f"films/{stem}{suffix}"
    uri = _put(plan.root, path, data)
    if plan.masks:
        _put(plan.root, f"masks/{stem}.lung.png", encode_mask(phantom.lung))
        _put(plan.root, f"masks/{stem}.infection.png", encode_mask(phantom.infection))
    return ObjectTruth(
        uri=uri,
        path=path,
        seed=film_seed,
        expected=SCORED,
        film_class=phantom.film_class.value,
        percent=phantom.percent,
        percent_left=phantom.percent_left,
        percent_right=phantom.percent_right,
        rows=rows,
        columns=columns,
        transfer_syntax=syntax,
        bytes=len(data),
    )


def _write_bad(plan: _Plan, number: int, kind: BadKind) -> ObjectTruth:
    # An offset, so that no bad object shares a patient with a scorable film.
    film_seed = _film_seed(plan.seed, 10**8 + number)
    rows, columns = _size(plan, number)
    data = make_bad_film(kind, film_seed, rows=rows, columns=columns)
    path = f"films/{study_date(film_seed):%Y}/PHANTOM-{film_seed:06d}/{kind.value}-{number:06d}{kind.suffix}"
    return ObjectTruth(
        uri=_put(plan.root, path, data),
        path=path,
        seed=film_seed,
        expected=kind.reason.value,
        film_class=None,
        percent=None,
        percent_left=None,
        percent_right=None,
        rows=None,
        columns=None,
        transfer_syntax=None,
        bytes=len(data),
    )


def _film_seed(seed: int, number: int) -> int:
    """Return the seed of film `number`, one of 10^12, so that archives of different seeds share no films."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0] % np.uint64(10**12))


def _size(plan: _Plan, number: int) -> tuple[int, int]:
    if plan.rows is not None and plan.columns is not None:
        return plan.rows, plan.columns
    # Sizes and styles alternate at different rates, so that each style occurs in every size.
    return _SIZES[number // len(plan.styles) % len(_SIZES) if number >= len(plan.styles) else number % len(_SIZES)]


def _put(root: str, path: str, data: bytes) -> str:
    filesystem, target = url_to_fs(f"{root}/{path}")
    filesystem.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
    filesystem.pipe_file(target, data)
    return f"{root}/{path}"
