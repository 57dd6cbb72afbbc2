"""What starts, checks and records the stages; it shapes no result."""
