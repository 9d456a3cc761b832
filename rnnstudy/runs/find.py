"""Search for run folders."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from rnnstudy.runs.folder import SUB_RUN, RunFolder

REPORT = "report"
"""Name of the folder, within the compared one, that holds the report."""


def find_run_folders(directory: Path, unseen: list[str], *, skipped: Sequence[str] = (REPORT,)) -> Iterator[RunFolder]:
    """Yield the run folders at or below `directory`, by name, without the folders in it that are named in `skipped`.

    A folder with at least one file of a run is one. Hidden folders are skipped: Hydra keeps a `config.yaml` of its own
    in `.hydra`. `unseen` receives a line on every folder that cannot be read.
    """
    try:
        with os.scandir(directory) as found:
            entries = sorted(found, key=lambda entry: entry.name)
            folders = {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
    except OSError as error:
        unseen.append(f"{directory}: cannot be looked into: {error.strerror}")
        return
    folder = RunFolder(directory)
    files = {path.name for path in (folder.config, folder.manifest, folder.metrics, folder.curves, folder.result)}
    is_run = any(entry.name in files and os.path.isfile(entry.path) for entry in entries)
    if is_run:
        yield folder
        skipped = (*skipped, folder.checkpoints.name)
    for name in (entry.name for entry in entries if entry.name in folders):
        if name not in skipped and not name.startswith(".") and not (is_run and name.startswith(SUB_RUN)):
            yield from find_run_folders(directory / name, unseen, skipped=())
