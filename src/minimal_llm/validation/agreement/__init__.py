"""Grammatical agreement in stories that a model trained on the primer generates."""
