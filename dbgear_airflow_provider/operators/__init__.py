"""Operators: one class per verb."""
