"""What a bundle is worth on labelled films: figures with intervals, tables, plots and a report."""

from cxrlib.evaluation.document import DataSet as DataSet
from cxrlib.evaluation.document import Evaluation as Evaluation
from cxrlib.evaluation.document import json_text as json_text
from cxrlib.evaluation.figures.all_figures import not_measured as not_measured
from cxrlib.evaluation.films import FilmResult as FilmResult
from cxrlib.evaluation.films import evaluate as evaluate
from cxrlib.evaluation.measure import RESAMPLES as RESAMPLES
from cxrlib.evaluation.measure import Measured as Measured
from cxrlib.evaluation.measure import card_metrics as card_metrics
from cxrlib.evaluation.measure import measure as measure
from cxrlib.evaluation.report.worst_films import Shown as Shown
from cxrlib.evaluation.sources import SourceNote as SourceNote
from cxrlib.evaluation.sources import read_source_notes as read_source_notes
