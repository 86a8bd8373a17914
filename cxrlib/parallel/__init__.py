"""Work that runs ahead of the networks, in processes that may die without stopping the run."""
