"""What is stored and what it means: the Arrow schemas, the vocabularies, the run manifest and the bundle card.

This package imports nothing of the product, so that every other part may import it.
"""

from schemas.backfill import BackfillControl as BackfillControl
from schemas.backfill import BackfillManifest as BackfillManifest
from schemas.backfill import Cut as Cut
from schemas.backfill import CutBy as CutBy
from schemas.backfill import Order as Order
from schemas.backfill import PartEntry as PartEntry
from schemas.backfill import PartFailure as PartFailure
from schemas.card import Card as Card
from schemas.manifest import Counts as Counts
from schemas.manifest import Manifest as Manifest
from schemas.plan import PLAN as PLAN
from schemas.reasons import Reason as Reason
from schemas.rejects import REJECTS as REJECTS
from schemas.scores import SCORES as SCORES
from schemas.vocabulary import Disposition as Disposition
from schemas.vocabulary import FilmClass as FilmClass
from schemas.vocabulary import Grade as Grade
from schemas.vocabulary import LungsFound as LungsFound
from schemas.vocabulary import SourceFormat as SourceFormat
from schemas.vocabulary import View as View
from schemas.vocabulary import Windowing as Windowing
