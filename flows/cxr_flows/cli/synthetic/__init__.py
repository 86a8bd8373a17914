"""Commands that need no data: the demo and the phantom archive."""
