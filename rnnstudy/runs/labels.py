"""Short labels of settings."""

from collections import Counter
from collections.abc import Sequence


def short_labels(paths: Sequence[str]) -> dict[str, str]:
    """Map dotted keys to their last part where that is unambiguous, else to themselves."""
    counts = Counter(path.rpartition(".")[2] for path in paths)
    return {path: last if counts[last := path.rpartition(".")[2]] == 1 else path for path in paths}
