"""Stage train: the training loop, its schedule, its checkpoints and what it records."""
