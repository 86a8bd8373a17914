"""Three programs that a competent user would write in place of this product, on the same weights and the same films.

They share what is theirs alike: how a film is read, what becomes of a prediction, and the rows (`user_code`).
"""
