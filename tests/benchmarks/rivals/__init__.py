"""Three programs that a competent user would write instead of this product, with the same weights and films.

They share `user_code`: how a film is read, how a prediction is measured, and the rows.
"""
