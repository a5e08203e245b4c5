"""Baselines: models without a network, which a neural one is to be better than."""
