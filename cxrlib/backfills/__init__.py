"""Backfills: `create` starts one, `split` makes its parts, `stored` reads and writes its state."""
