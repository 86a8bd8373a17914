"""Commands for model bundles: list and show, evaluate, train."""
