"""From stored values to grey: LUTs, windows and polarity (DICOM PS3.3 C.11)."""
