"""Read a results root as one pandas table: the front door of `cxrlib.results.cohort`."""

from cxrlib.results.cohort import load

__all__ = ["load"]
