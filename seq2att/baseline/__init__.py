"""Baselines: what simple counting makes of the data of a run, judged as the run is."""
