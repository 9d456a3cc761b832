"""Quantities derived from adjoints and weights."""
