"""Stage validate: measure quality, speed and memory, check them against their bounds, and write the report."""
