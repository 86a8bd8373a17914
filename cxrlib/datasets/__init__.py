"""Labelled films on disk: what each layout holds and what its labels are worth."""

from cxrlib.datasets.layouts import read_dataset as read_dataset
from cxrlib.datasets.sample import LungConvention as LungConvention
from cxrlib.datasets.sample import Sample as Sample
from cxrlib.datasets.sample import Split as Split
