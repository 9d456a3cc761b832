"""What every other package stands on: errors, seeds, schedules, numerics, the run folder's layout."""
