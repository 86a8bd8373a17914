"""The evaluation report: tables, plots and the HTML page."""
