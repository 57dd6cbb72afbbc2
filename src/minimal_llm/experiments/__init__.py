"""Comparing, sweeping, watching and sharing runs, on top of DVC."""
