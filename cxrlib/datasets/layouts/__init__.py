"""Published and plain layouts of labelled data sets: one module reads each."""
