"""The results of an evaluation as data: every figure as JSON, and a table with one row per film."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from cxrlib.evaluation.figures.catalog import not_measured
from cxrlib.evaluation.figures.film_columns import CLASSES
from cxrlib.evaluation.figures.intervals import Interval
from cxrlib.evaluation.film_results import FilmResult
from cxrlib.evaluation.measured_figures import RESAMPLES, MeasuredFigure
from cxrlib.evaluation.source_notes import SourceNote
from cxrlib.measuring.metrics import PixelCounts, PixelMetric
from cxrlib.models.bundle import Bundle

#: Format version of the JSON document; raised whenever a key changes its meaning.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class EvaluatedDataset:
    """One data set of an evaluation.

    Attributes
    ----------
    name : str
        Name of its folder.
    layout : str
    films, all_films : int
        Number of films in the evaluated split, and in all splits.
    notes : tuple of str
        Limits of its labels, and what was left out and why.
    """

    name: str
    layout: str
    films: int
    all_films: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A complete evaluation of one bundle.

    Attributes
    ----------
    bundle : Bundle
    split : str
        ``test``, ``train`` or ``all``.
    precision, device : str
        Precision and device that the networks ran with.
    software_version : str
    datasets : tuple of DataSet
    results : tuple of FilmResult
    measured : tuple of Measured
    notes : mapping of str to SourceNote
        What is known about the films and labels of a source, by source. Sources may be missing.
    """

    bundle: Bundle
    split: str
    precision: str
    device: str
    software_version: str
    datasets: tuple[EvaluatedDataset, ...]
    results: tuple[FilmResult, ...]
    measured: tuple[MeasuredFigure, ...]
    notes: Mapping[str, SourceNote] = field(default_factory=dict)

    @property
    def note_by_source(self) -> dict[str, SourceNote | None]:
        """The note on each evaluated source; None for a source without one."""
        return {source: self.notes.get(source) for source in sorted({film.sample.source for film in self.results})}


def json_document(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation as plain JSON values. The same films give the same document."""
    identity, notes = evaluation.bundle.card.bundle, evaluation.note_by_source
    return {
        "format": FORMAT,
        "bundle": {"name": identity.name, "version": identity.version, "digest": evaluation.bundle.digest},
        "software_version": evaluation.software_version,
        "split": evaluation.split,
        "precision": evaluation.precision,
        "device": evaluation.device,
        "datasets": [
            {
                "name": dataset.name,
                "layout": dataset.layout,
                "films": dataset.films,
                "films_of_all_splits": dataset.all_films,
                "notes": list(dataset.notes),
            }
            for dataset in evaluation.datasets
        ],
        "sources": {source: None if note is None else note.model_dump() for source, note in notes.items()},
        "films": len(evaluation.results),
        "rejected": dict(count_rejects(evaluation.results)),
        "not_measured": list(not_measured(evaluation.bundle.card)),
        "bootstrap_resamples": RESAMPLES,
        "figures": [_figure(item) for item in evaluation.measured],
    }


def json_text(evaluation: Evaluation) -> str:
    """Return the evaluation as JSON text; see `json_document`."""
    return json.dumps(json_document(evaluation), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def count_rejects(results: Sequence[FilmResult]) -> list[tuple[str, int]]:
    """Return the number of rejected films by reason, most frequent reason first."""
    counts = Counter(film.reason.value for film in results if film.reason is not None)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _figure(item: MeasuredFigure) -> dict[str, Any]:
    return {
        "source": item.source,
        "section": item.figure.section.value,
        "figure": item.figure.name,
        "unit": item.figure.unit.value,
        "class": None if item.figure.film_class is None else item.figure.film_class.value,
        "value": round(item.value, 6),
        "interval": _interval(item.interval),
        "bootstrap": _interval(item.bootstrap),
        "films": item.films,
        "groups": item.groups,
        "on_card": item.figure.on_card,
    }


def _interval(interval: Interval | None) -> list[float] | None:
    if interval is None or math.isnan(interval.low):
        return None
    return [round(interval.low, 6), round(interval.high, 6)]


def film_table(results: Sequence[FilmResult]) -> pd.DataFrame:
    """Return a table with one row per film: labels, result, and agreement of the masks. Percentages are 0 to 100."""
    return pd.DataFrame([_film(film) for film in results])


def _film(film: FilmResult) -> dict[str, Any]:
    sample, probabilities = film.sample, film.probabilities or {}
    return {
        "image": str(sample.image),
        "source": sample.source,
        "group": sample.group,
        "true_class": _value(sample.film_class),
        "class": _value(film.film_class),
        **{f"p_{name.value}": probabilities.get(name) for name in CLASSES},
        "rejected": _value(film.reason),
        "lungs_found": _value(film.lungs_found),
        **_mask_metrics("lung", film, film.lung),
        **_mask_metrics("infection", film, film.infection),
        "true_percent": film.truth.percent,
        "percent": film.percent,
        "geographic_extent": sample.geographic_extent,
    }


def _mask_metrics(name: str, film: FilmResult, counts: PixelCounts | None) -> dict[str, float | None]:
    metrics = (PixelMetric.DICE, PixelMetric.IOU, PixelMetric.SENSITIVITY, PixelMetric.PRECISION)
    return {f"{name}_{metric.value}": film.mask_metric(metric, counts) for metric in metrics}


def _value(name: Any) -> str | None:
    return None if name is None else str(name.value)
