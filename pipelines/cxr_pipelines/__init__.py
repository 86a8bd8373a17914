"""Runs and backfills, from their sources to their manifests; `cxr_pipelines.beam` holds the Beam graph that scores."""
