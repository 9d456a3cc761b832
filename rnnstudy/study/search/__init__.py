"""Searches of a space of configurations with Optuna."""
