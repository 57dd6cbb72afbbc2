"""The report card and its plots."""
