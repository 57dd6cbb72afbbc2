"""The safety filter, its rules, and how well it does."""
