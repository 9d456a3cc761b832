"""Why gradients vanish and explode, measured beside what theory says."""
