"""Figures of merit with 95 % intervals: masks, infection, percent infected and classes."""
