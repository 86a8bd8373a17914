"""Work through the parts of a backfill: scheduler, progress, dry run and time estimate."""
