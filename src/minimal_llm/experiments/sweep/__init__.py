"""`make sweep`: every combination of a grid of parameters."""
