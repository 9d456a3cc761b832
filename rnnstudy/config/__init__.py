"""From a configuration to objects: the only place where a configuration names code."""
