"""Figures of merit with intervals: masks, percent infected and classes."""
