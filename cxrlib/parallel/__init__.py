"""Work done ahead of the networks, in processes that may die without harm."""
