"""A run from its sources to its manifest, and in `cxr_pipelines.beam` the graph that does the work where there is some."""
