"""All that imports Beam: the graph, its thin transforms, the runners it is given to, and their workers.

Beam is imported here without its optional parts (`cxr_pipelines.beam.optional`). A program that uses those, and this
package in the same process, imports Beam first.
"""

import resource as _resource

from cxr_pipelines.beam.optional import OPTIONAL as _OPTIONAL
from cxr_pipelines.beam.optional import left_out as _left_out

with _left_out(_OPTIONAL):
    from apache_beam.ml.inference import base as _base

# By which Beam tells the memory of a model; it gives it up together with what shares out a GPU.
_base.resource = _resource
