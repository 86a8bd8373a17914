"""Trials: scripts that measured what a design rests on. No test runs them."""
