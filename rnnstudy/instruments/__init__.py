"""What is measured while training; one file an instrument."""
