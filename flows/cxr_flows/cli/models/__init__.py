"""Commands about model bundles: list, evaluate, train."""
