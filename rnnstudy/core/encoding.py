"""Encoding of a task's inputs, declared by tasks and applied by models."""

from typing import Literal

Encoding = Literal["features", "symbols", "words"]
"""Features enter as they are, symbols one-hot, words through a learnt embedding."""
