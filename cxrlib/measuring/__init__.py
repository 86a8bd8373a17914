"""From probabilities to cleaned masks, percent infected, grades, stored masks and overlay pictures."""
