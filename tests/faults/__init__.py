"""Faults aimed at every write of a run: `make faults` (all of them), `tests/test_faults.py` (a selection).

A shim under the C library (`shim.c`) counts the calls that change the run's folder and its cache. For every number it
ends the process there, tears the write, or lets the call fail; then the same command runs again. It must end with the
weights, figures and best epoch of the undisturbed run, bit for bit.
"""
