"""Minimal pairs: two sentences that differ in one place, of which only the first is grammatical."""
