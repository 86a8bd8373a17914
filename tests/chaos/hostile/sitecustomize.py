"""Makes the decoder fatal for chosen films, in every Python process that finds this folder on its PYTHONPATH.

No file is known that crashes, hangs or swells every version of every codec, and a hook for it has no place in the
product. Python imports a module of this name when it starts, so the worker processes, which inherit the environment,
have another `read_film` from their first film on; the process that runs the test does not.
``CXR_TEST_HOSTILE`` names the films: SHA-256 of their bytes to what they do.
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

_DOES = json.loads(os.environ["CXR_TEST_HOSTILE"])
_read_film = cxrlib.film_steps.read_film


def read_film(data: bytes, settings: Settings, rows: int, columns: int) -> CxrImage:
    """Read a film as the product does, unless it is one of the chosen."""
    match _DOES.get(hashlib.sha256(data).hexdigest()):
        case "segfault":
            ctypes.string_at(0)
        case "hang":
            ctypes.PyDLL(None).sleep(600)  # and keeps the interpreter, as a codec may that does not let go of it
        case "eat":
            np.ones(2**30, np.float64)  # 8 GB
    return _read_film(data, settings, rows, columns)


cxrlib.film_steps.read_film = read_film
