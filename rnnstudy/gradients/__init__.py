"""What can be derived from adjoints and weights."""
