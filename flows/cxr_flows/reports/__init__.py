"""Reports as text and markdown: a run, a backfill, a comparison of two bundles."""
