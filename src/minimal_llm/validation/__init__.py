"""Stage validate: quality, speed and memory of a model against their bounds, and the report."""
