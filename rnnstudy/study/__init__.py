"""A configuration becomes parts, parts a run, a run a result."""
