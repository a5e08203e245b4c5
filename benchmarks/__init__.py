"""Side by side in one run: the speed of seq2att against frozen textbook implementations, and against the machine."""
