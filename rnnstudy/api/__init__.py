"""Functions for notebooks and scripts, one per file; `rnnstudy` offers each by its name."""
