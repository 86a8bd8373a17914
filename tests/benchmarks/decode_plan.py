"""Compare planned with full decoding: differences of masks, percent infected and class, film by film.

``python -m tests.benchmarks.decode_plan [GROUP ...]`` reads every film in both ways, runs the default bundle on both
images and writes one line per group of films to ``results/decode_plan.csv``. With ``--films FILE`` it writes one line
per film. Real films are read from ``../shared/data`` if it exists. All groups take half an hour on one core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxr_schemas import FilmClass
from cxrlib.errors import FilmError
from cxrlib.film_steps import ScoringParameters, clean_and_measure
from cxrlib.models.bundle import load_bundle
from cxrlib.models.inference.batched_engine import BatchedEngine
from cxrlib.models.inference.choose_engine import load_engine
from cxrlib.reading.read import read_film
from cxrlib.settings import DecodeMode, ReadSettings, Settings
from cxrlib.types import CxrImage, ImageRef, Prediction, ScoredFilm
from tests.benchmarks import decode_films, machine
from tests.benchmarks.decode_films import Case
from tests.benchmarks.report import write_report
from tests.benchmarks.tables import add_line

PLANNED: Final = Settings()
FULL: Final = Settings(read=ReadSettings(decode=DecodeMode.FULL))
_REF: Final = ImageRef("memory://film", "size:0")

#: Bounds that must hold for the phantoms and for the real films: Dice of a mask and the share of films that reach it;
#: difference of percent infected in points, for a share of the films and for all; share of films with the same class.
DICE, DICE_SHARE = 0.995, 0.99
POINTS, POINTS_SHARE, MOST_POINTS = 0.2, 0.95, 1.0
CLASS_SHARE = 0.99


@dataclass(frozen=True, slots=True)
class Compared:
    """One film read in both ways.

    Attributes
    ----------
    outcome : str
        ``scored``, the reason of the reject, or ``differs`` if the two ways disagree on it.
    grey : float
        Largest difference of the two images, in [0, 1].
    lung_dice, infection_dice : float or None
        Dice of the two masks; 1 if both are empty.
    points : float or None
        Absolute difference of percent infected, in percentage points.
    same_class : bool or None
    """

    group: str
    outcome: str
    grey: float = 0.0
    lung_dice: float | None = None
    infection_dice: float | None = None
    points: float | None = None
    same_class: bool | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Films of one name on the command line, and their default number; 0 if the number is fixed."""

    cases: Callable[[int], Iterator[Case]]
    count: int


GROUPS: Final = {
    "jpeg2000": Group(decode_films.phantoms_in_jpeg_2000, 200),
    "styles": Group(decode_films.phantoms_in_every_style, 24),
    "dicom": Group(lambda _count: decode_films.real_dicom_films(), 0),
    "enlarged": Group(decode_films.real_films_enlarged, 200),
    "grain": Group(decode_films.real_films_regrained, 200),
    "small": Group(lambda _count: decode_films.real_films_in_jpeg_2000(), 0),
    "brighter": Group(decode_films.real_films_brighter, 200),
}


class Comparison:
    """Scores fully decoded and planned images with the default bundle and compares the results.

    `precision` applies to both; `against` sets another precision for the fully decoded images.
    """

    def __init__(self, precision: str = "auto", against: str | None = None) -> None:
        bundle = load_bundle("default")
        self._parameters = ScoringParameters.of(bundle.card)
        self._engine = load_engine(bundle, precision=precision)
        self._against = self._engine if against is None else load_engine(bundle, precision=against)

    def compare(self, cases: Iterable[Case]) -> Iterator[Compared]:
        """Yield the comparison of each film."""
        source = iter(cases)
        while batch := list(islice(source, self._engine.batch)):
            pairs = [(self._read(case.data, FULL), self._read_planned(case)) for case in batch]
            whole = self._score(self._against, [full for full, _ in pairs])
            scored = self._score(self._engine, [planned for _, planned in pairs])
            for case, (full, planned), one, other in zip(batch, pairs, whole, scored, strict=True):
                yield _compared(case.group, full, planned, one, other)

    def _read_planned(self, case: Case) -> CxrImage | FilmError:
        if case.other is not None:
            return self._read(case.other, FULL)
        return _brighter(self._read(case.data, PLANNED), case.brighter)

    def _read(self, data: bytes, settings: Settings) -> CxrImage | FilmError:
        try:
            return read_film(data, settings, self._parameters.rows, self._parameters.columns)
        except FilmError as error:
            return error

    def _score(self, engine: BatchedEngine, images: Sequence[CxrImage | FilmError]) -> list[ScoredFilm | FilmError]:
        films = [image for image in images if isinstance(image, CxrImage)]
        scored = iter(zip(films, engine.predict(films), strict=True))
        return [image if isinstance(image, FilmError) else self._measure(*next(scored)) for image in images]

    def _measure(self, image: CxrImage, prediction: Prediction | FilmError) -> ScoredFilm | FilmError:
        return (
            prediction
            if isinstance(prediction, FilmError)
            else clean_and_measure(_REF, image, prediction, self._parameters)
        )


def _brighter(image: CxrImage | FilmError, by: float) -> CxrImage | FilmError:
    if isinstance(image, FilmError) or by == 0:
        return image
    return replace(image, pixels=np.clip(image.pixels + np.float32(by), 0, 1))


def _compared(
    group: str,
    full: CxrImage | FilmError,
    planned: CxrImage | FilmError,
    one: ScoredFilm | FilmError,
    other: ScoredFilm | FilmError,
) -> Compared:
    grey = 0.0
    if isinstance(full, CxrImage) and isinstance(planned, CxrImage):
        grey = float(np.abs(full.pixels - planned.pixels).max())
    if isinstance(one, FilmError) or isinstance(other, FilmError):
        agree = isinstance(one, FilmError) and isinstance(other, FilmError) and one.reason is other.reason
        return Compared(group, one.reason.value if agree and isinstance(one, FilmError) else "differs", grey)
    return Compared(
        group,
        "scored",
        grey,
        lung_dice=dice(one.masks.lung, other.masks.lung),
        infection_dice=dice(_infection(one), _infection(other)),
        points=abs(_percent(one) - _percent(other)),
        same_class=_class(one) is _class(other),
    )


def _infection(film: ScoredFilm) -> NDArray[np.bool_]:
    if film.masks.infection is None:
        raise ValueError("expected a bundle with infection output; got none")
    return film.masks.infection


def _percent(film: ScoredFilm) -> float:
    percent = film.severity.whole.percent
    if percent is None:
        raise ValueError("expected a bundle with infection output; got none")
    return percent


def _class(film: ScoredFilm) -> FilmClass:
    classes = film.prediction.classes
    if classes is None:
        raise ValueError("expected a bundle with class output; got none")
    return max(classes, key=classes.__getitem__)


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return the Dice of two masks; 1 if both are empty."""
    both = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2.0 * int(np.count_nonzero(one & other)) / both if both else 1.0


def summary(films: pd.DataFrame) -> pd.DataFrame:
    """Return one line per group of `films`, whose columns are the fields of `Compared`."""
    return pd.DataFrame(_line(str(group), part) for group, part in films.groupby("group", sort=False))


def _line(name: str, films: pd.DataFrame) -> dict[str, object]:
    scored = films[films.outcome == "scored"]
    lung, infection = (float((dice >= DICE).mean()) for dice in (scored.lung_dice, scored.infection_dice))
    near = float((scored.points <= POINTS).mean())
    same_class = float(scored.same_class.astype(float).mean())
    otherwise = int((films.outcome == "differs").sum())
    holds = min(lung, infection) >= DICE_SHARE and near >= POINTS_SHARE and same_class >= CLASS_SHARE and not otherwise
    return {
        "films": name,
        "n": len(films),
        "scored": len(scored),
        "rejected_alike": int((~films.outcome.isin(["scored", "differs"])).sum()),
        "rejected_otherwise": otherwise,
        "images_equal": int((films.grey == 0).sum()),
        "grey_difference_most": round(float(films.grey.max()), 5),
        "lung_dice_least": round(float(scored.lung_dice.min()), 4),
        "lung_dice_share": round(lung, 4),
        "infection_dice_least": round(float(scored.infection_dice.min()), 4),
        "infection_dice_share": round(infection, 4),
        "points_p95": round(float(scored.points.quantile(0.95)), 3),
        "points_share": round(near, 4),
        "points_most": round(float(scored.points.max()), 3),
        "class_same_share": round(same_class, 4),
        "within_bounds": holds and float(scored.points.max()) <= MOST_POINTS,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; ``--help`` lists the options."""
    parser = argparse.ArgumentParser(prog="decode_plan", description=__doc__)
    parser.add_argument("groups", nargs="*", help=f"of {', '.join(GROUPS)}; all by default")
    parser.add_argument("--count", type=int, help="films of each group whose number is not fixed")
    parser.add_argument("--films", type=Path, help="also write one line per film here")
    parser.add_argument(
        "--precision",
        default="auto",
        choices=["auto", "fp32", "bf16"],
        help="of the networks; other than auto, it is named in the results",
    )
    parser.add_argument("--against", choices=["fp32"], help="precision for fully decoded films; named in the results")
    chosen = parser.parse_args(arguments)
    unknown = sorted(set(chosen.groups) - set(GROUPS))
    if unknown:
        parser.error(f"expected groups of {', '.join(GROUPS)}; got {', '.join(unknown)}")
    groups = [GROUPS[name] for name in chosen.groups or GROUPS]
    cases = chain.from_iterable(group.cases(chosen.count or group.count) for group in groups)
    films = pd.DataFrame(asdict(found) for found in Comparison(chosen.precision, chosen.against).compare(cases))
    if films.empty:
        parser.error("expected films; got none: real films are read from ../shared/data")
    if chosen.precision != "auto":
        films["group"] += f", {chosen.precision}"
    if chosen.against is not None:
        films["group"] += f", against {chosen.against}"
    if chosen.films:
        films.to_csv(chosen.films, index=False)
    for line in summary(films).to_dict("records"):
        add_line("decode_plan", {**line, **machine.describe()}, keys=("films", "kind"))
    write_report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
