"""The primer: an embedded corpus of short parallel stories that this package writes itself, from one seed."""
