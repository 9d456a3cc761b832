"""The base of every other package: errors, seeds, schedules, numerics, the run folder's layout."""
