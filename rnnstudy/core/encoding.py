"""How a task's inputs enter a network: what tasks say and models do, in one word."""

from typing import Literal

Encoding = Literal["features", "symbols", "words"]
"""Features enter as they are, symbols one-hot, words through an embedding that is learnt."""
