"""The commands: train, compare, board."""
