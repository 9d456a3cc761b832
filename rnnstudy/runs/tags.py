"""Names of what runs log, as far as their reading takes more than to know them."""

import re
from collections.abc import Iterable

_HORIZON = re.compile(r"horizon/h/layer_(\d+)/lag")


def top_horizon(tags: Iterable[str]) -> str | None:
    """The tag among `tags` that has the gradient horizon of the top layer's hidden state; None if none has."""
    found = [match for tag in tags if tag.startswith("horizon/") and (match := _HORIZON.fullmatch(tag))]
    return max(found, key=lambda match: int(match[1]))[0] if found else None
