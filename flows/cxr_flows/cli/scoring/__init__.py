"""Commands that score films: score, nightly, backfill, rescore."""
