"""Everything that imports Beam: the graph, its transforms, its runners and their workers.

Beam is imported without its optional modules (`cxr_pipelines.beam.optional`). A program that needs those modules in the
same process as this package must import Beam first.
"""

import resource as _resource

from cxr_pipelines.beam.optional import OPTIONAL as _OPTIONAL
from cxr_pipelines.beam.optional import without_modules as _without_modules

with _without_modules(_OPTIONAL):
    from apache_beam.ml.inference import base as _base

# Beam measures the memory of a model with `resource`. It drops that import together with the optional module that
# shares a GPU among models.
_base.resource = _resource
