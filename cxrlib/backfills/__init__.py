"""Backfills: partition an archive into parts, store them, and read how far each has come."""
