"""Networks built from recurrences; one file a network."""
