"""Typed look-ups in a DICOM header, in which any value may be missing, empty or malformed.

pydicom converts a value when it is first asked for, so it is here that a broken one shows. A malformed value is worth
no more than a missing one, and both come back as None: whether that matters is for the caller to say. Nothing of a
value is put into a log or a message, for it may name a person.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pydicom.config
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

# pydicom repeats header text in its warnings and log records; neither may leave this process.
logging.getLogger("pydicom").propagate = False
warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom(\.|$)")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


class Header:
    """Read access to one dataset.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Parsed up to its pixel data.
    little_endian : bool
        Byte order of its elements of words, which pydicom leaves as they are.
    """

    __slots__ = ("_dataset", "_little_endian", "_values")

    def __init__(self, dataset: Dataset, *, little_endian: bool = True) -> None:
        self._dataset = dataset
        self._little_endian = little_endian
        self._values: dict[str, Any] = {}

    def has(self, keyword: str) -> bool:
        """Return whether the element is there, whatever it holds."""
        return keyword in self._dataset

    def value(self, keyword: str) -> Any:
        """Return the value as pydicom gives it, or None where it is missing, empty or malformed."""
        if keyword not in self._values:
            self._values[keyword] = self._converted(keyword)
        return self._values[keyword]

    def _converted(self, keyword: str) -> Any:
        # As an attribute of the dataset, by its keyword, pydicom takes several times as long to find it, or not to.
        tag = _tag(keyword)
        try:
            element = self._dataset.get(tag)
            value = None if element is None else element.value
        except Exception:  # pydicom raises many kinds of error for a malformed value; all mean that there is none
            return None
        return None if value is None or value in ("", b"") else value

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Return the values as stripped text, without the empty ones at the end."""
        value = self.value(keyword)
        values = value if isinstance(value, MultiValue | list | tuple) else () if value is None else (value,)
        texts = [str(each).strip().strip("\0") for each in values]
        while texts and not texts[-1]:
            texts.pop()
        return tuple(texts)

    def text(self, keyword: str) -> str | None:
        """Return the first value as stripped text, or None where there is none."""
        texts = self.texts(keyword)
        return texts[0] or None if texts else None

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """Return the finite numbers of the element; empty where any value is not one."""
        value = self.value(keyword)
        values = value if isinstance(value, MultiValue | list | tuple) else () if value is None else (value,)
        try:
            numbers = tuple(float(each) for each in values)
        except (TypeError, ValueError, OverflowError):
            return ()
        return numbers if all(math.isfinite(number) for number in numbers) else ()

    def number(self, keyword: str) -> float | None:
        """Return the first number, or None where there is none."""
        numbers = self.numbers(keyword)
        return numbers[0] if numbers else None

    def integer(self, keyword: str) -> int | None:
        """Return the first number if it is whole, else None."""
        number = self.number(keyword)
        return int(number) if number is not None and number == int(number) else None

    def data(self, keyword: str) -> bytes | None:
        """Return the bytes of an element of words or bytes (OB, OW, UN), or None."""
        value = self.value(keyword)
        return value if isinstance(value, bytes) else None

    @property
    def word(self) -> np.dtype[np.uint16]:
        """Type of the 16-bit words in `data`, in the byte order of the file."""
        return np.dtype("<u2") if self._little_endian else np.dtype(">u2")

    def items(self, keyword: str) -> Sequence[Header]:
        """Return the items of a sequence; empty where there is none."""
        value = self.value(keyword)
        if value is None or isinstance(value, str | bytes):
            return ()
        try:
            return [Header(item, little_endian=self._little_endian) for item in value if isinstance(item, Dataset)]
        except TypeError:
            return ()


@cache
def _tag(keyword: str) -> BaseTag:
    """Return the tag that the data dictionary (PS3.6) has for `keyword`."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"expected a keyword of the DICOM data dictionary; got {keyword!r}")
    return BaseTag(tag)
