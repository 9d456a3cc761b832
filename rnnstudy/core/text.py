"""Text for a terminal."""


def printable(text: str) -> str:
    """Return a line with what a terminal would take for a command, such as an escape in a folder's name, replaced."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
