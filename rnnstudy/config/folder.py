"""Place of the configuration files."""

from pathlib import Path

import rnnstudy


def conf_folder() -> Path:
    """Return the folder of the configuration files: inside the installed package, or beside it in a checkout."""
    package = Path(rnnstudy.__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"
