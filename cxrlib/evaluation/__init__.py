"""What a bundle is worth on labelled films: figures with intervals, tables, plots and a report."""

from cxrlib.evaluation.films import FilmResult as FilmResult
from cxrlib.evaluation.films import evaluate as evaluate
from cxrlib.evaluation.measure import Measured as Measured
from cxrlib.evaluation.measure import card_metrics as card_metrics
from cxrlib.evaluation.measure import measure as measure
