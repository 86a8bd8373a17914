"""The networks of the five papers, and the catalog of what they are."""
