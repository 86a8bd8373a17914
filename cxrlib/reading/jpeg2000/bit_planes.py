"""Leaving the lowest bit planes of a JPEG 2000 codestream undecoded where they are far finer than what is shown.

Coefficients are coded bit plane by bit plane, and the lowest planes, which are mostly noise, take most of the time of
decoding them: at a quarter of the resolution of a film of 3000 x 2500 in 12 bits, lossless 62 ms with all of them and
30 without those that no grey shows, lossy 22 and 18.
"""

from __future__ import annotations

from cxrlib.reading.jpeg2000 import lossless_bit_planes, lossy_bit_planes
from cxrlib.reading.jpeg2000.markers import CodingStyle, Steps
from cxrlib.reading.jpeg2000.subbands import Wavelet, spare_planes


def without_lowest_planes(data: bytes, style: CodingStyle, bits: int, level: int, noise: float) -> bytes | None:
    """Return the codestream of which a decoder reads no finer planes than need be; it may end after `level`.

    Parameters
    ----------
    data : bytes
        The whole stream.
    style : CodingStyle
        Of `data`.
    bits : int
        Of a sample.
    level : int
        Times the film is to be halved.
    noise : float
        Standard deviation, in stored values, that means of the samples at `level` may be off by.

    Returns
    -------
    bytes or None
        None where it was coded in a way that has to be decoded with all its planes.
    """
    levels = style.levels - level
    quantised = style.quantisation
    if style.reversible:
        planes = spare_planes(Wavelet.REVERSIBLE_5_3, (1.0,) * (3 * levels + 1), noise, exact=True)
        return lossless_bit_planes.without_lowest_planes(data, style, planes)
    if quantised is None or quantised.steps is Steps.NONE:
        return None
    steps = lossy_bit_planes.steps_of(quantised, bits, levels)
    planes = spare_planes(Wavelet.IRREVERSIBLE_9_7, steps, noise, exact=False)
    return lossy_bit_planes.without_lowest_planes(data, quantised, planes)
