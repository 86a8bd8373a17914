"""Reports as text and markdown: on a run, a backfill, and a comparison of two bundles."""
