"""Commands that make synthetic films: the demo and the phantom archive."""
