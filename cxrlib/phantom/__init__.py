"""The phantom: synthetic frontal chest films with exact lung and infection masks, written as any kind of object.

It serves the demo, the tests and load tests of any size. It is no substitute for real films: what is claimed of
accuracy is measured on real ones.
"""

from cxrlib.phantom.film import Phantom as Phantom
from cxrlib.phantom.film import make_phantom as make_phantom
