"""The networks of the five papers and our own, and the catalog that lists them."""
