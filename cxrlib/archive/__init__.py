"""Where films lie: listings, inventories and fetching, through fsspec."""
