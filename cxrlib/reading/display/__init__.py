"""From stored values to the image that the networks read: LUTs, windows, the grayscale pipeline, polarity."""
