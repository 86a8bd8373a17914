"""Make one synthetic chest film with its exact masks and percentages."""

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

#: Increased when the same seed gives a different film.
PHANTOM_VERSION: Final = 1

_CLASS_SHARES: Final = {FilmClass.COVID19: 0.4, FilmClass.PNEUMONIA: 0.25, FilmClass.NORMAL: 0.35}


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """A synthetic frontal chest film and its ground truth. Left and right are the patient's own.

    Attributes
    ----------
    pixels : float32 array, rows x columns
        Grey in [0, 1], dense is white. The patient's left is on the right of the image.
    left, right : bool array, rows x columns
        Lung masks without the parts behind the heart and the diaphragm; disjoint.
    infection : bool array, rows x columns
        Infection mask, a subset of the lungs: where the opacity exceeds half its plateau.
    percent, percent_left, percent_right : float
        Infected share of both lungs and of each lung, 0 to 100. It does not depend on the size in pixels.
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

    The same arguments give the same film on any machine, except for the last bit of a float. Another size gives the
    same film at another resolution, with different noise.

    Parameters
    ----------
    seed : int
        At least 0.
    rows, columns : int
        Size in pixels; the sides may differ by a factor of 2 at most.
    film_class : FilmClass, optional
        Drawn from the seed by default.
    percent : float, optional
        Infected percent of both lungs: 0 for a normal film, in (0, 100] for others. Drawn from the seed by default.

    Raises
    ------
    ValueError
        The seed is negative, the aspect ratio exceeds 2, or class and percent contradict each other.
    """
    if seed < 0:
        raise ValueError(f"expected a seed of at least 0; got {seed}")
    # Independent streams, so that the same person can be drawn healthy and ill on otherwise equal films.
    person_rng, disease_rng, device_rng, exposure_rng, noise_rng = (
        np.random.default_rng((seed, stream)) for stream in range(5)
    )
    film_class, percent = _class_and_percent(disease_rng, film_class, percent)
    anatomy = sample_anatomy(person_rng)
    grid = make_grid(person_rng, anatomy, rows, columns)
    right, left = lung_fields(grid, anatomy.right), lung_fields(grid, anatomy.left)
    right_mask, left_mask = right.inside > 0, left.inside > 0
    lung = right_mask | left_mask

    lung_cm = tissue.aeration(person_rng, grid, anatomy, (right, left))
    disease = infection.sample_infection(
        disease_rng, grid, (right, left), lung_cm, film_class=film_class, percent=percent
    )
    vessels = vessels_cm(person_rng, grid, anatomy)
    # Lung tissue is not uniform: its fine structure adds up along the ray.
    lung_cm *= 1.0 + np.float32(0.02) * (
        smooth_noise(person_rng, grid.shape, 64) + smooth_noise(person_rng, grid.shape, 128)
    )
    cm = tissue.body_cm(person_rng, grid, anatomy)
    cm -= np.float32(tissue.AIR) * np.minimum(lung_cm, np.float32(0.85) * cm)
    cm -= tissue.airway_and_stomach_cm(person_rng, grid, anatomy, left)
    cm += tissue.mediastinum_cm(person_rng, grid, anatomy)
    cm += bones.ribs_cm(person_rng, grid, anatomy, (right, left))
    cm += bones.spine_cm(person_rng, grid, anatomy)
    cm += bones.clavicles_cm(person_rng, grid, anatomy)
    cm += bones.shoulders_cm(person_rng, grid, anatomy)
    np.maximum(cm, 0.0, out=cm)
    clean = cm + vessels
    # Fluid around a vessel removes its contrast.
    cm += vessels * (1.0 - disease.filled) + disease.cm
    device_cm = devices.devices_cm(device_rng, grid, anatomy, ill=film_class is not FilmClass.NORMAL)
    if device_cm is not None:
        cm += device_cm

    settings = exposure.sample_exposure(exposure_rng)
    film = exposure.develop(cm, clean, lung, settings)
    film = exposure.add_annotations(exposure_rng, film, anatomy.view, lung)
    infected = (disease.inside > 0) & lung
    return Phantom(
        pixels=exposure.add_noise(noise_rng, _resize(film, rows, columns), settings),
        left=_positive(left.inside, rows, columns),
        right=_positive(right.inside, rows, columns),
        infection=_positive(np.minimum(disease.inside, np.maximum(left.inside, right.inside)), rows, columns),
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
    shares = np.array([_CLASS_SHARES[each] for each in classes])
    drawn = classes[int(rng.choice(len(classes), p=shares / shares.sum()))]
    film_class = drawn if film_class is None else film_class
    if percent is None:
        return film_class, infection.sample_percent(rng, film_class)
    if not 0.0 <= percent <= 100.0 or (percent == 0.0) != (film_class is FilmClass.NORMAL):
        raise ValueError(
            f"expected 0 percent for a normal film, else more than 0 and at most 100; got {percent} for {film_class}"
        )
    return film_class, percent


def _percent(infected: NDArray[np.bool_], lung: NDArray[np.bool_]) -> float:
    return 100.0 * float(np.count_nonzero(infected & lung)) / float(np.count_nonzero(lung))


def _resize(film: Field, rows: int, columns: int) -> Field:
    finer = rows > film.shape[0]
    method = cv2.INTER_CUBIC if finer else cv2.INTER_AREA
    return np.asarray(cv2.resize(film, (columns, rows), interpolation=method), dtype=np.float32)


def _positive(field: Field, rows: int, columns: int) -> NDArray[np.bool_]:
    """Return the mask of positive values of a signed field, resampled to the size of the film."""
    return np.asarray(cv2.resize(field, (columns, rows), interpolation=cv2.INTER_LINEAR) > 0)
