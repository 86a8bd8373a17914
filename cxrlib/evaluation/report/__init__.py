"""The evaluation report: an HTML page with tables, plots and the films with the worst results."""
