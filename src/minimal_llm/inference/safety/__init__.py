"""The safety filter, its rules, and the measurement of its recall and false positives."""
