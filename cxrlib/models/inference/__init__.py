"""Run a bundle's networks over batches of films."""
