"""The progress of runs, at a terminal and elsewhere."""
