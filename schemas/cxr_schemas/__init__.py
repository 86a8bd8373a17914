"""Define all stored data: Arrow schemas, vocabularies, reject reasons, manifests and the bundle card.

This package imports no other package of the product, so that all others can import it.
"""

from cxr_schemas.backfill_manifest import BackfillControl as BackfillControl
from cxr_schemas.backfill_manifest import BackfillManifest as BackfillManifest
from cxr_schemas.backfill_manifest import Cut as Cut
from cxr_schemas.backfill_manifest import CutBy as CutBy
from cxr_schemas.backfill_manifest import PartEntry as PartEntry
from cxr_schemas.backfill_manifest import PartFailure as PartFailure
from cxr_schemas.backfill_manifest import PartOrder as PartOrder
from cxr_schemas.card import Card as Card
from cxr_schemas.plan import PLAN as PLAN
from cxr_schemas.reasons import Reason as Reason
from cxr_schemas.rejects import REJECTS as REJECTS
from cxr_schemas.run_manifest import RunCounts as RunCounts
from cxr_schemas.run_manifest import RunManifest as RunManifest
from cxr_schemas.scores import SCORES as SCORES
from cxr_schemas.vocabulary import Disposition as Disposition
from cxr_schemas.vocabulary import FilmClass as FilmClass
from cxr_schemas.vocabulary import Grade as Grade
from cxr_schemas.vocabulary import LungsFound as LungsFound
from cxr_schemas.vocabulary import SourceFormat as SourceFormat
from cxr_schemas.vocabulary import View as View
from cxr_schemas.vocabulary import Windowing as Windowing
