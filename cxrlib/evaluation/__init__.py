"""Measure a bundle on labelled films: figures of merit with 95 % intervals, tables, plots and an HTML report."""

from cxrlib.evaluation.data_files import EvaluatedDataset as EvaluatedDataset
from cxrlib.evaluation.data_files import Evaluation as Evaluation
from cxrlib.evaluation.data_files import json_text as json_text
from cxrlib.evaluation.figures.catalog import not_measured as not_measured
from cxrlib.evaluation.film_results import FilmResult as FilmResult
from cxrlib.evaluation.film_results import evaluate as evaluate
from cxrlib.evaluation.measured_figures import RESAMPLES as RESAMPLES
from cxrlib.evaluation.measured_figures import MeasuredFigure as MeasuredFigure
from cxrlib.evaluation.measured_figures import card_metrics as card_metrics
from cxrlib.evaluation.measured_figures import measure_figures as measure_figures
from cxrlib.evaluation.report.worst_films import ShownFilms as ShownFilms
from cxrlib.evaluation.source_notes import SourceNote as SourceNote
from cxrlib.evaluation.source_notes import read_source_notes as read_source_notes
