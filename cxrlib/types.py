"""The values that pass from one stage of scoring to the next, in order.

``ImageRef -> bytes -> CxrImage -> Prediction -> Masks -> Severity -> row``. All are frozen, and the arrays they hold
are never written to after construction. This module imports no other layer of cxrlib.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import FilmClass, Grade, LungsFound, Reason, SourceFormat, View, Windowing


@dataclass(frozen=True, slots=True, order=True)
class ImageRef:
    """One listed object. Its identity is ``(uri, version)``.

    Attributes
    ----------
    uri : str
        fsspec URI, as it is opened.
    version : str
        ``etag:...``, ``crc32:...`` (zip members), ``mtime:...`` or ``size:...``: the first that the store lists.
    size : int or None
        Bytes, if the listing has them.
    attempt : int
        Number of this attempt at the object, from 1; only a retryable reject increases it.
    """

    uri: str
    version: str
    size: int | None = field(default=None, compare=False)
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class FilmFacts:
    """What is stored of a film's header, with identifiers and dates as the privacy settings require.

    Attributes
    ----------
    rows, columns : int
        Size of the upright source image, after a mirrored or turned film was turned back.
    spacing_mm : tuple of float or None
        Distance between rows and between columns, in mm at the detector (DICOM PS3.3 10.7.1.3, Imager Pixel Spacing,
        else Pixel Spacing).
    transfer_syntax : str or None
        UID for DICOM, None for PNG and JPEG.
    mirrored : bool
        The film was stored mirrored or turned, and was turned upright.
    inverted : bool
        The header declares the lowest stored value white (MONOCHROME1).
    """

    source_format: SourceFormat
    rows: int
    columns: int
    spacing_mm: tuple[float, float] | None = None
    transfer_syntax: str | None = None
    modality: str | None = None
    view: View = View.UNKNOWN
    sop_instance_uid: str | None = None
    series_instance_uid: str | None = None
    study_instance_uid: str | None = None
    patient_key: str | None = None
    study_date: dt.date | None = None
    mirrored: bool = False
    inverted: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class CxrImage:
    """A film as the networks read it.

    Attributes
    ----------
    pixels : float32 array, rows x columns of the bundle's input
        In [0, 1], white is dense, left of the patient on the right of the image.
    facts : FilmFacts
        From the header, with the size of the source. The grid covers the whole source film, so one grid pixel is
        ``facts.rows / pixels.shape[0]`` source rows by ``facts.columns / pixels.shape[1]`` source columns.
    content_digest : str
        SHA-256 of the source bytes, hexadecimal.
    windowing : Windowing
        Whether VOI LUT, window or percentiles made the grey.
    clipped_fraction : float
        Share of `pixels` that are exactly 0 or 1.
    polarity_corrected : bool
        The film was a negative although its header said otherwise, and was inverted.
    """

    pixels: NDArray[np.float32]
    facts: FilmFacts
    content_digest: str
    windowing: Windowing
    clipped_fraction: float
    polarity_corrected: bool = False

    @property
    def pixel_mm2(self) -> float | None:
        """Area of one grid pixel in mm2, or None where the spacing is unknown."""
        if self.facts.spacing_mm is None:
            return None
        row_mm, column_mm = self.facts.spacing_mm
        rows, columns = (int(side) for side in self.pixels.shape)
        return row_mm * self.facts.rows / rows * column_mm * self.facts.columns / columns


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Outputs of a bundle's networks for one film, before any threshold. An output that the bundle lacks is None.

    Attributes
    ----------
    lung, infection : float32 array, rows x columns of the bundle's input
        Probability per pixel, in [0, 1].
    classes : dict of FilmClass to float
        Probability per class; sums to 1.
    localisation_cells : uint8 array or None
        Evidence for the most probable class, 0 to 255, on the grid of the explained layer;
        `cxrlib.measuring.localisation.localisation_map` draws it.
    precision : str
        Arithmetic of the networks, such as ``fp32``.
    forward_batch : int or None
        Films of the forward pass, with padding; None where it is not known.
    engine : str or None
        Library that ran the networks, such as ``openvino``; None where it is not known.
    """

    lung: NDArray[np.float32]
    infection: NDArray[np.float32] | None
    classes: dict[FilmClass, float] | None
    precision: str
    localisation_cells: NDArray[np.uint8] | None = None
    forward_batch: int | None = None
    engine: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """Cleaned masks on the grid of the network's input. Left and right are the patient's.

    Attributes
    ----------
    left, right : bool array
        Disjoint; their union is the lung mask. One may be empty, never both.
    infection : bool array or None
        Subset of the lung; None where the bundle has no infection output.
    lungs_found : LungsFound
    split : bool
        The two lungs touched and were separated.
    """

    left: NDArray[np.bool_]
    right: NDArray[np.bool_]
    infection: NDArray[np.bool_] | None
    lungs_found: LungsFound
    split: bool

    @property
    def lung(self) -> NDArray[np.bool_]:
        """Both lungs."""
        return self.left | self.right


@dataclass(frozen=True, slots=True)
class Extent:
    """Lung and infected area of one lung or both, in pixels of the mask grid.

    `infection_px` is None where the bundle has no infection output. `percent` is None then, and where `lung_px` is 0.
    """

    lung_px: int
    infection_px: int | None

    @property
    def percent(self) -> float | None:
        """Percent infected, 0 to 100 (qu-ex section 3.3; inflocnet Eq. 3)."""
        if self.infection_px is None or self.lung_px == 0:
            return None
        return 100.0 * self.infection_px / self.lung_px


@dataclass(frozen=True, slots=True)
class Severity:
    """Measurements of the masks of one film.

    Attributes
    ----------
    pixel_mm2 : float or None
        Area of one mask pixel; None where the spacing is unknown.
    localisation_percent : float or None
        Percent of both lungs where the localisation map exceeds its threshold, 0 to 100; None where the bundle
        has no localisation.
    """

    whole: Extent
    left: Extent
    right: Extent
    regions: int | None
    grade: Grade | None
    pixel_mm2: float | None
    localisation_percent: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ScoredFilm:
    """Everything from which a score row is made."""

    ref: ImageRef
    image: CxrImage
    prediction: Prediction
    masks: Masks
    severity: Severity


@dataclass(frozen=True, slots=True)
class RejectedFilm:
    """A listed object that was not scored. `message` states what was expected and what was got, never header text."""

    ref: ImageRef
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """The software, bundle, settings and run that made a row. Digests are SHA-256, hexadecimal."""

    bundle_name: str
    bundle_version: str
    bundle_digest: str
    config_digest: str
    software_version: str
    run_id: str
