"""Draw the contours of the masks on the film, as a PNG for people to look at (after inflocnet Algorithm 2).

Contours leave the film below them readable. The colours are from the palette of Okabe and Ito, which is safe for
colour-blind people:

- right lung of the patient: sky blue
- left lung: bluish green
- infection: vermilion, with a faint tint
- localisation map, if the bundle gives one: yellow haze, denser where a pixel supports the class more, and a contour at
  its threshold
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlib.reading.resample import resize
from cxrlib.types import CxrImage, Masks


class Colour(Enum):
    """Contour colours, as red, green, blue."""

    RIGHT_LUNG = (86, 180, 233)
    LEFT_LUNG = (0, 158, 115)
    INFECTION = (213, 94, 0)
    LOCALISED = (240, 228, 66)

    @property
    def bgr(self) -> tuple[int, int, int]:
        """The colour in OpenCV's order: blue, green, red."""
        red, green, blue = self.value
        return blue, green, red


#: Longer side of the picture in pixels.
LONG_SIDE: Final = 768
_TINT: Final = 0.2
_HAZE: Final = 0.45
_THICKNESS: Final = 2


def draw_overlay(
    image: CxrImage,
    masks: Masks,
    localisation: NDArray[np.float32] | None = None,
    threshold: float | None = None,
) -> bytes:
    """Return a PNG, 8-bit RGB, of the film with its masks drawn, and its localisation map if there is one.

    The picture has the proportions of the source film (the network reads a stretched one); its longer side has
    `LONG_SIDE` pixels. It shows nothing of the header. An ``L`` marks the patient's left side.

    Parameters
    ----------
    image : CxrImage
    masks : Masks
    localisation : float32 array in [0, 1], rows x columns of the masks, optional
    threshold : float, optional
        Value of the localisation at which its contour is drawn.
    """
    size = _size(image)
    grey = np.clip(np.rint(cv2.resize(image.pixels, size, interpolation=cv2.INTER_LINEAR) * 255.0), 0, 255)
    picture = cv2.cvtColor(grey.astype(np.uint8), cv2.COLOR_GRAY2BGR)
    if localisation is not None:
        _draw_haze(picture, resize(localisation, size[1], size[0]))
    layers = [(masks.right, Colour.RIGHT_LUNG), (masks.left, Colour.LEFT_LUNG)]
    if masks.infection is not None:
        layers.append((masks.infection, Colour.INFECTION))
        _draw_tint(picture, _scale_mask(masks.infection, size), Colour.INFECTION)
    if localisation is not None and threshold is not None:
        layers.append((localisation > np.float32(threshold), Colour.LOCALISED))
    for mask, colour in layers:
        outlines, _ = cv2.findContours(_scale_mask(mask, size), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(picture, outlines, -1, colour.bgr, _THICKNESS, cv2.LINE_AA)
    width, _ = size
    cv2.putText(picture, "L", (width - 40, 44), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (255, 255, 255), 2, cv2.LINE_AA)
    _, encoded = cv2.imencode(".png", picture)
    return encoded.tobytes()


def _size(image: CxrImage) -> tuple[int, int]:
    """Return width and height of the picture."""
    scale = LONG_SIDE / max(image.facts.rows, image.facts.columns)
    return max(round(image.facts.columns * scale), 1), max(round(image.facts.rows * scale), 1)


def _scale_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a mask as 0 and 1 at the picture's size, with smooth edges."""
    soft = cv2.resize(np.ascontiguousarray(mask).astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return (soft >= 0.5).astype(np.uint8)


def _draw_haze(picture: NDArray[np.uint8], strength: NDArray[np.float32]) -> None:
    weight = np.float32(_HAZE) * strength[..., None]
    picture[:] = np.rint((1 - weight) * picture + weight * np.asarray(Colour.LOCALISED.bgr)).astype(np.uint8)


def _draw_tint(picture: NDArray[np.uint8], mask: NDArray[np.uint8], colour: Colour) -> None:
    inside = mask.astype(bool)
    picture[inside] = np.rint((1 - _TINT) * picture[inside] + _TINT * np.asarray(colour.bgr)).astype(np.uint8)
