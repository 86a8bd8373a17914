"""DICOM films: file, header, eligibility, view, orientation and pixel data."""
