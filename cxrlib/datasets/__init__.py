"""Read labelled films from disk. Each known layout of a data set has a module in `cxrlib.datasets.layouts`."""

from cxrlib.datasets.folders import LabelledDataset as LabelledDataset
from cxrlib.datasets.load import LAYOUTS as LAYOUTS
from cxrlib.datasets.load import DatasetLayout as DatasetLayout
from cxrlib.datasets.load import load_dataset as load_dataset
from cxrlib.datasets.load import read_dataset as read_dataset
from cxrlib.datasets.sample import LungConvention as LungConvention
from cxrlib.datasets.sample import Sample as Sample
from cxrlib.datasets.sample import Split as Split
from cxrlib.datasets.sample import read_mask as read_mask
