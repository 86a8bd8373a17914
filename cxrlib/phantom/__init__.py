"""Synthetic frontal chest films (phantoms) with exact lung and infection masks, as DICOM, PNG or JPEG.

They serve the demo, the tests and load tests of any size. They do not replace real films: all published accuracy
figures are measured on real films.

`film` makes one phantom from the shadows in `body` and the `exposure`. `encode` writes it as a file, `archive` writes
many, and `bad_films` makes objects that must be rejected.
"""

from cxrlib.phantom.film import Phantom as Phantom
from cxrlib.phantom.film import make_phantom as make_phantom
