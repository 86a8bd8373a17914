"""From probabilities to cleaned masks, percentages, grades, and the pictures of them."""
