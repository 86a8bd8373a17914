"""Measure milliseconds per film from probabilities to cleaned masks, percentages and run lengths.

``python -m tests.benchmarks.masks_speed`` takes the annotators' masks in ``../shared/data`` at 256 x 256 pixels, or
ellipses if there are none, and blurs them to probabilities such as a network returns. The product and the reference
implementation run in turns on one thread; a line of medians goes to ``results/masks_speed.csv``. The reference uses
scipy and loops and does less: it separates no lungs and checks no shapes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_schemas import Card
from cxrlib.errors import FilmError
from cxrlib.measuring import rle
from cxrlib.measuring.masks import clean_masks
from cxrlib.measuring.severity import measure_severity
from cxrlib.models.bundle import load_bundle
from cxrlib.types import Prediction
from tests.benchmarks import machine
from tests.benchmarks.report import write_report
from tests.benchmarks.tables import add_line
from tests.support import reference_masks
from tests.support.paths import REAL_FILMS
from tests.support.scored_films import ellipse, two_lungs

_FILMS: Final = REAL_FILMS / "covid-qu-ex"
_SIDE: Final = 256


def _blurred(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.5), dtype=np.float32)


def predictions(count: int) -> list[Prediction]:
    """Return `count` predictions of films with infection, from real masks if there are any."""
    paths = sorted(_FILMS.glob("*/*/COVID-19/lung masks/*"))[:count]
    pairs = [
        tuple(
            cv2.imread(str(path.parents[1] / f"{kind} masks" / path.name), cv2.IMREAD_GRAYSCALE) > 127
            for kind in ("lung", "infection")
        )
        for path in paths
    ] or [(two_lungs(_SIDE), ellipse(_SIDE, 0.6, 0.3, 0.1, 0.1))] * count
    return [Prediction(_blurred(lung), _blurred(infection), None, "fp32") for lung, infection in pairs]


def ours(prediction: Prediction, card: Card) -> None:
    """Clean, measure and encode the masks as a run does."""
    try:
        masks = clean_masks(prediction, card.postprocess)
    except FilmError:
        return
    measure_severity(masks, 1.0, card.grades)
    rle.encode(masks.lung)
    if masks.infection is not None:
        rle.encode(masks.infection)


def reference(prediction: Prediction, card: Card) -> None:
    """Clean, measure and encode the masks with the reference implementation."""
    lung = reference_masks.lung(prediction.lung > card.postprocess.lung_threshold, card.postprocess)
    if prediction.infection is None:
        raise ValueError("expected a prediction with infection; got none")
    infected = prediction.infection > card.postprocess.infection_threshold
    infection = reference_masks.infection(infected, lung, card.postprocess)
    reference_masks.percent(infection, lung)
    reference_masks.region_count(infection)
    reference_masks.run_lengths(lung)
    reference_masks.run_lengths(infection)


def _milliseconds(work: Callable[[Prediction, Card], None], films: Sequence[Prediction], card: Card) -> float:
    started = time.process_time()
    for film in films:
        work(film, card)
    return 1000 * (time.process_time() - started) / len(films)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; ``--help`` lists the options."""
    parser = argparse.ArgumentParser(prog="masks_speed", description=__doc__)
    parser.add_argument("--films", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    card = load_bundle("default").card
    films = predictions(chosen.films)
    turns = [(_milliseconds(ours, films, card), _milliseconds(reference, films, card)) for _ in range(chosen.repeats)]
    own, theirs = (statistics.median(turn[way] for turn in turns) for way in (0, 1))
    line = {
        "films": len(films),
        "turns": chosen.repeats,
        "ours_ms": round(own, 3),
        "reference_ms": round(theirs, 3),
        "reference_over_ours": round(statistics.median(reference_ms / own_ms for own_ms, reference_ms in turns), 1),
        **machine.describe(),
    }
    add_line("masks_speed", line, keys=("films",))
    write_report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
