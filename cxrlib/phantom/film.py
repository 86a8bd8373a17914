"""Make one synthetic chest film, with the truth about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_schemas import FilmClass, View
from cxrlib.phantom import exposure
from cxrlib.phantom.body import bones, devices, infection, tissue
from cxrlib.phantom.body.anatomy import sample_anatomy
from cxrlib.phantom.body.geometry import Field, lung_fields, make_grid, smooth_noise
from cxrlib.phantom.body.vessels import vessels_cm

#: Raised whenever the same seed gives another film.
PHANTOM_VERSION: Final = 1

_CLASS_SHARES: Final = {FilmClass.COVID19: 0.4, FilmClass.PNEUMONIA: 0.25, FilmClass.NORMAL: 0.35}


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """A synthetic frontal chest film and its truth. Left and right are the patient's own.

    Attributes
    ----------
    pixels : float32 array, rows x columns
        In [0, 1], white is dense; the patient's left is on the right of the image.
    left, right : bool array, rows x columns
        The lungs, without what the heart or the diaphragm covers; disjoint.
    infection : bool array, rows x columns
        Subset of the lungs: where the opacity exceeds half its plateau.
    percent, percent_left, percent_right : float
        Infected share of both lungs and of each, 0 to 100; the same for one seed at every size.
    spacing_mm : float
        Side of a pixel at the detector, in mm.
    """

    pixels: NDArray[np.float32]
    left: NDArray[np.bool_]
    right: NDArray[np.bool_]
    infection: NDArray[np.bool_]
    film_class: FilmClass
    percent: float
    percent_left: float
    percent_right: float
    spacing_mm: float
    age_years: float
    view: View
    seed: int

    @property
    def lung(self) -> NDArray[np.bool_]:
        """Both lungs."""
        return self.left | self.right


def make_phantom(
    seed: int,
    *,
    rows: int = 1024,
    columns: int = 1024,
    film_class: FilmClass | None = None,
    percent: float | None = None,
) -> Phantom:
    """Return the film of `seed`.

    The same arguments give the same film on any machine, but for the last bit of a float; another size gives the same
    film finer or coarser, with noise of its own.

    Parameters
    ----------
    seed : int
        Not negative.
    rows, columns : int
        Size in pixels; the sides may differ by a factor of 2 at most.
    film_class : FilmClass, optional
        Drawn by the seed where not given.
    percent : float, optional
        Percent of both lungs that is infected: 0 for a normal film, in (0, 100] for another. Drawn by the seed where
        not given.

    Raises
    ------
    ValueError
        A negative seed, a size that is no film's, or a percent that the class cannot have.
    """
    if seed < 0:
        raise ValueError(f"a phantom's seed must not be negative: got {seed}")
    # Streams of their own, so that the same person can be drawn healthy and ill on otherwise equal films.
    who, ill, worn, how, grain = (np.random.default_rng((seed, stream)) for stream in range(5))
    film_class, percent = _class_and_percent(ill, film_class, percent)
    anatomy = sample_anatomy(who)
    frame = make_grid(who, anatomy, rows, columns)
    right, left = lung_fields(frame, anatomy.right), lung_fields(frame, anatomy.left)
    right_mask, left_mask = right.inside > 0, left.inside > 0
    lung = right_mask | left_mask

    lung_cm = tissue.aeration(who, frame, anatomy, (right, left))
    sick = infection.sample_infection(ill, frame, (right, left), lung_cm, film_class=film_class, percent=percent)
    vessels = vessels_cm(who, frame, anatomy)
    # Lung is no even foam: its fine structure adds up along the ray.
    lung_cm *= 1.0 + np.float32(0.02) * (smooth_noise(who, frame.shape, 64) + smooth_noise(who, frame.shape, 128))
    cm = tissue.body_cm(who, frame, anatomy)
    cm -= np.float32(tissue.AIR) * np.minimum(lung_cm, np.float32(0.85) * cm)
    cm -= tissue.airway_and_stomach_cm(who, frame, anatomy, left)
    cm += tissue.mediastinum_cm(who, frame, anatomy)
    cm += bones.ribs_cm(who, frame, anatomy, (right, left))
    cm += bones.spine_cm(who, frame, anatomy)
    cm += bones.clavicles_cm(who, frame, anatomy)
    cm += bones.shoulders_cm(who, frame, anatomy)
    np.maximum(cm, 0.0, out=cm)
    clean = cm + vessels
    # Fluid around a vessel takes its contrast away.
    cm += vessels * (1.0 - sick.filled) + sick.cm
    metal = devices.devices_cm(worn, frame, anatomy, ill=film_class is not FilmClass.NORMAL)
    if metal is not None:
        cm += metal

    shot = exposure.sample_exposure(how)
    film = exposure.develop(cm, clean, lung, shot)
    film = exposure.add_annotations(how, film, anatomy.view, lung)
    infected = (sick.inside > 0) & lung
    return Phantom(
        pixels=exposure.add_noise(grain, _resize(film, rows, columns), shot),
        left=_positive(left.inside, rows, columns),
        right=_positive(right.inside, rows, columns),
        infection=_positive(np.minimum(sick.inside, np.maximum(left.inside, right.inside)), rows, columns),
        film_class=film_class,
        percent=_percent(infected, lung),
        percent_left=_percent(infected, left_mask),
        percent_right=_percent(infected, right_mask),
        spacing_mm=anatomy.lung_mm / anatomy.lung_of_film / min(rows, columns),
        age_years=anatomy.age_years,
        view=anatomy.view,
        seed=seed,
    )


def _class_and_percent(
    rng: np.random.Generator, film_class: FilmClass | None, percent: float | None
) -> tuple[FilmClass, float]:
    classes = [FilmClass.NORMAL] if percent == 0.0 else list(_CLASS_SHARES)
    if percent is not None and percent > 0.0:
        classes.remove(FilmClass.NORMAL)
    shares = np.array([_CLASS_SHARES[one] for one in classes])
    drawn = classes[int(rng.choice(len(classes), p=shares / shares.sum()))]
    film_class = drawn if film_class is None else film_class
    if percent is None:
        return film_class, infection.sample_percent(rng, film_class)
    if not 0.0 <= percent <= 100.0 or (percent == 0.0) != (film_class is FilmClass.NORMAL):
        raise ValueError(
            f"a normal film has 0 percent infected, any other more than 0 up to 100: got {film_class} with {percent}"
        )
    return film_class, percent


def _percent(infected: NDArray[np.bool_], lung: NDArray[np.bool_]) -> float:
    return 100.0 * float(np.count_nonzero(infected & lung)) / float(np.count_nonzero(lung))


def _resize(film: Field, rows: int, columns: int) -> Field:
    finer = rows > film.shape[0]
    way = cv2.INTER_CUBIC if finer else cv2.INTER_AREA
    return np.asarray(cv2.resize(film, (columns, rows), interpolation=way), dtype=np.float32)


def _positive(field: Field, rows: int, columns: int) -> NDArray[np.bool_]:
    """Return where a signed field is positive, at the size of the film."""
    return np.asarray(cv2.resize(field, (columns, rows), interpolation=cv2.INTER_LINEAR) > 0)
