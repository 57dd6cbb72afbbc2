"""Stage train: the training loop, its learning rate schedule, checkpoints and metrics."""
