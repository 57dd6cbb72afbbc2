"""Used everywhere; it shapes no result."""
