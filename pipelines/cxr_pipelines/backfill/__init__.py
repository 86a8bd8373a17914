"""Backfills: score an archive of any size in parts, each part a run of its own."""
