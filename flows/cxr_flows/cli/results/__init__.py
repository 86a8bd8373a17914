"""Commands that read a results root: verify, status, compact, compare."""
