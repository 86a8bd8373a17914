"""Make decoding fatal for chosen films, in every Python process that has this folder on its PYTHONPATH.

No known file crashes, hangs or exhausts every version of every codec, and the product needs no hook for it. Python
imports a module of this name at its start. So the worker processes, which inherit the environment, use the `read_film`
below; the process of the test does not. ``CXR_TEST_HOSTILE`` is a JSON object: SHA-256 of a film's bytes to its action.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os

import numpy as np

import cxrlib.film_steps
from cxrlib.settings import Settings
from cxrlib.types import CxrImage

_ACTIONS = json.loads(os.environ["CXR_TEST_HOSTILE"])
_read_film = cxrlib.film_steps.read_film


def read_film(data: bytes, settings: Settings, rows: int, columns: int) -> CxrImage:
    """Read a film as the product does, unless it is a chosen one."""
    match _ACTIONS.get(hashlib.sha256(data).hexdigest()):
        case "segfault":
            ctypes.string_at(0)
        case "hang":
            ctypes.PyDLL(None).sleep(600)  # holds the GIL, as a codec does that never releases it
        case "eat":
            np.ones(2**30, np.float64)  # 8 GB
    return _read_film(data, settings, rows, columns)


cxrlib.film_steps.read_film = read_film
