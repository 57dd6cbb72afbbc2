"""What starts, checks and records the stages. Nothing in here shapes a result."""
