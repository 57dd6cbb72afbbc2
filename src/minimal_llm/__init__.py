"""Train a tiny bilingual language model from scratch on a CPU."""

__version__ = "0.1.0"
