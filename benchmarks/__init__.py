"""Measurements of speed: `make bench`. Ratios against a baseline in the same run; machines differ and are noisy."""
