"""Shared helpers. Nothing in here affects a result, so no stage depends on it."""
