"""The migration that is measured, after the one that made the tables."""
