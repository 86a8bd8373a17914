"""Build score rows from measured films, and reject rows from rejected ones.

The same films always give the same table, in whatever order they come: rows are sorted by ``(uri, version)`` and do not
depend on the clock or the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa

from cxr_schemas import REJECTS, SCORES, FilmClass
from cxrlib.measuring import localisation, rle
from cxrlib.measuring.severity import areas_mm2
from cxrlib.types import Extent, Provenance, RejectedFilm, ScoredFilm

_Film = Callable[[ScoredFilm], Any]


def scores_table(films: Sequence[ScoredFilm], provenance: Provenance) -> pa.Table:
    """Return the score rows of `films`, of schema `cxr_schemas.SCORES`, sorted by ``(uri, version)``.

    Probabilities are rounded to four decimals, so that rows do not depend on the last bits of a float.
    """
    ordered = sorted(films, key=lambda film: (film.ref.uri, film.ref.version))
    columns = {name: [get(film) for film in ordered] for name, get in _SCORE_COLUMNS.items()}
    return _table(SCORES, columns, len(ordered), provenance)


def rejects_table(rejects: Sequence[RejectedFilm], provenance: Provenance) -> pa.Table:
    """Return the reject rows of `rejects`, of schema `cxr_schemas.REJECTS`, sorted by ``(uri, version)``."""
    ordered = sorted(rejects, key=lambda reject: (reject.ref.uri, reject.ref.version))
    columns: dict[str, list[Any]] = {
        "uri": [reject.ref.uri for reject in ordered],
        "version": [reject.ref.version for reject in ordered],
        "size": [reject.ref.size for reject in ordered],
        "reason": [reject.reason.value for reject in ordered],
        "retryable": [reject.reason.retryable for reject in ordered],
        "message": [reject.message for reject in ordered],
        "attempt": [reject.ref.attempt for reject in ordered],
    }
    return _table(REJECTS, columns, len(ordered), provenance)


def _table(schema: pa.Schema, columns: dict[str, list[Any]], length: int, provenance: Provenance) -> pa.Table:
    arrays = []
    for field in schema:
        if field.name in columns:
            array = pa.array(columns[field.name], type=_value_type(field.type))
        else:
            array = pa.array([getattr(provenance, field.name)] * length, type=pa.string())
        if pa.types.is_dictionary(field.type):
            array = array.dictionary_encode().cast(field.type)
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=schema)


def _value_type(type_: pa.DataType) -> pa.DataType:
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def _probability(film_class: FilmClass) -> _Film:
    def get(film: ScoredFilm) -> float | None:
        classes = film.prediction.classes
        return None if classes is None or film_class not in classes else round(float(classes[film_class]), 4)

    return get


def _class_label(film: ScoredFilm) -> str | None:
    """Return the most probable class. Ties go to the first class on the bundle's card, as in the localisation map."""
    classes = film.prediction.classes
    return None if classes is None else max(classes, key=lambda film_class: classes[film_class]).value


def _lung_mm2(extent: Callable[[ScoredFilm], Extent]) -> _Film:
    def get(film: ScoredFilm) -> float | None:
        areas = areas_mm2(extent(film), film.severity.pixel_mm2)
        return None if areas is None else areas.lung

    return get


def _infection_mm2(extent: Callable[[ScoredFilm], Extent]) -> _Film:
    def get(film: ScoredFilm) -> float | None:
        areas = areas_mm2(extent(film), film.severity.pixel_mm2)
        return None if areas is None else areas.infection

    return get


def _whole(film: ScoredFilm) -> Extent:
    return film.severity.whole


def _left(film: ScoredFilm) -> Extent:
    return film.severity.left


def _right(film: ScoredFilm) -> Extent:
    return film.severity.right


def _spacing(axis: int) -> _Film:
    def get(film: ScoredFilm) -> float | None:
        spacing = film.image.facts.spacing_mm
        return None if spacing is None else spacing[axis]

    return get


def _infected(film: ScoredFilm) -> bool | None:
    infected = film.severity.whole.infection_px
    return None if infected is None else infected > 0


def _infection_rle(film: ScoredFilm) -> str | None:
    return None if film.masks.infection is None else rle.encode(film.masks.infection)


def _localisation_map(film: ScoredFilm) -> str | None:
    cells = film.prediction.localisation_cells
    return None if cells is None else localisation.encode(cells)


#: The value of each column of SCORES, from a film. `Provenance` gives the other columns.
_SCORE_COLUMNS: Final[dict[str, _Film]] = {
    "uri": lambda film: film.ref.uri,
    "version": lambda film: film.ref.version,
    "content_digest": lambda film: film.image.content_digest,
    "sop_instance_uid": lambda film: film.image.facts.sop_instance_uid,
    "series_instance_uid": lambda film: film.image.facts.series_instance_uid,
    "study_instance_uid": lambda film: film.image.facts.study_instance_uid,
    "patient_key": lambda film: film.image.facts.patient_key,
    "study_date": lambda film: film.image.facts.study_date,
    "modality": lambda film: film.image.facts.modality,
    "view": lambda film: film.image.facts.view.value,
    "source_format": lambda film: film.image.facts.source_format.value,
    "transfer_syntax": lambda film: film.image.facts.transfer_syntax,
    "rows": lambda film: film.image.facts.rows,
    "columns": lambda film: film.image.facts.columns,
    "row_spacing_mm": _spacing(0),
    "column_spacing_mm": _spacing(1),
    "class_label": _class_label,
    "p_covid19": _probability(FilmClass.COVID19),
    "p_pneumonia": _probability(FilmClass.PNEUMONIA),
    "p_normal": _probability(FilmClass.NORMAL),
    "lungs_found": lambda film: film.masks.lungs_found.value,
    "lung_px": lambda film: film.severity.whole.lung_px,
    "lung_left_px": lambda film: film.severity.left.lung_px,
    "lung_right_px": lambda film: film.severity.right.lung_px,
    "lung_mm2": _lung_mm2(_whole),
    "lung_left_mm2": _lung_mm2(_left),
    "lung_right_mm2": _lung_mm2(_right),
    "infection_px": lambda film: film.severity.whole.infection_px,
    "infection_left_px": lambda film: film.severity.left.infection_px,
    "infection_right_px": lambda film: film.severity.right.infection_px,
    "infection_mm2": _infection_mm2(_whole),
    "infection_left_mm2": _infection_mm2(_left),
    "infection_right_mm2": _infection_mm2(_right),
    "percent_infected": lambda film: film.severity.whole.percent,
    "percent_left": lambda film: film.severity.left.percent,
    "percent_right": lambda film: film.severity.right.percent,
    "infected_regions": lambda film: film.severity.regions,
    "infected": _infected,
    "grade": lambda film: None if film.severity.grade is None else film.severity.grade.value,
    "localisation_percent": lambda film: film.severity.localisation_percent,
    "mask_rows": lambda film: film.masks.left.shape[0],
    "mask_columns": lambda film: film.masks.left.shape[1],
    "lung_rle": lambda film: rle.encode(film.masks.lung),
    "infection_rle": _infection_rle,
    "localisation_map": _localisation_map,
    "qc_windowing": lambda film: film.image.windowing.value,
    "qc_inverted": lambda film: film.image.facts.inverted,
    "qc_polarity_corrected": lambda film: film.image.polarity_corrected,
    "qc_mirrored": lambda film: film.image.facts.mirrored,
    "qc_lungs_split": lambda film: film.masks.split,
    "qc_clipped_fraction": lambda film: round(film.image.clipped_fraction, 4),
    "qc_lung_fraction": lambda film: round(film.severity.whole.lung_px / film.masks.left.size, 4),
    "engine": lambda film: film.prediction.engine,
    "precision": lambda film: film.prediction.precision,
    "forward_batch": lambda film: film.prediction.forward_batch,
}
