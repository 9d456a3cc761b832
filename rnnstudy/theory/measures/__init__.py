"""What the theory page measures."""
