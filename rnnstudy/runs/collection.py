"""All runs below some folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rnnstudy.core.errors import RnnstudyError
from rnnstudy.runs.fields import UnreadableRunError
from rnnstudy.runs.find import find_run_folders
from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.run import Run, read_run

MAX_CHECKED = 200
"""Most runs whose logs are all read to find corrupt ones; of more, only those that are drawn or have no digest."""

MAX_HELD = 60
"""Most runs whose logs are held in memory."""

MAX_TOLD = 5
"""Most folders named in the error where none can be read."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """All runs below some folders.

    Args:
        directories: The folders.
        runs: Runs that could be read, each once. With several folders, labels begin with the name of the folder.
        unusable: One line for each of the folders that is missing or a file, or holds no run.
        unreadable: One line for each folder below them that could not be read, with its name and why.
    """

    directories: tuple[Path, ...]
    runs: tuple[Run, ...]
    unusable: tuple[str, ...]
    unreadable: tuple[str, ...]


def read_sweep(*directories: Path) -> Sweep:
    """Return every run at or below some folders, and list unreadable ones; raise RnnstudyError if no run is left."""
    unusable: list[str] = []
    problems: list[str] = []
    folders: dict[Path, tuple[RunFolder, str]] = {}
    for directory, prefix in zip(directories, _prefixes(directories), strict=True):
        for folder in _look_into(directory, unusable, problems):
            label = Path(prefix, folder.path.relative_to(directory)).as_posix()
            folders.setdefault(folder.path.resolve(), (folder, label))
    runs = _read_all(list(folders.values()), problems)
    if not runs:
        wrong = [problem.removesuffix(".") for problem in [*unusable, *problems]]
        many = f"None of {len(wrong)} folders can be compared: " if len(wrong) > 1 else ""
        rest = f"; and {len(wrong) - MAX_TOLD} more" if len(wrong) > MAX_TOLD else ""
        raise RnnstudyError(f"{many}{'; '.join(wrong[:MAX_TOLD])}{rest}.")
    return Sweep(directories=tuple(directories), runs=tuple(runs), unusable=tuple(unusable), unreadable=tuple(problems))


def _prefixes(directories: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the paths that distinguish the folders; for a single folder an empty one."""
    if len(directories) == 1:
        return [""]
    parts = [directory.resolve().parts for directory in directories]
    different = len(set(parts))
    depth = next(d for d in range(1, 1 + max(map(len, parts))) if len({each[-d:] for each in parts}) == different)
    return ["/".join(each[-depth:]).removeprefix("//") for each in parts]


def _look_into(directory: Path, unusable: list[str], problems: list[str]) -> list[RunFolder]:
    if not directory.is_dir():
        wrong = f"{directory} is a file, not a folder" if directory.exists() else f"There is no folder {directory}"
        unusable.append(f"{wrong}. Runs come from `rnnstudy train ...`.")
        return []
    before = len(problems)
    found = list(find_run_folders(directory, problems))
    if not found and len(problems) == before:
        a_run = "a run is a folder with config.yaml and run.json, made by `rnnstudy train ...`"
        unusable.append(f"No run in {directory}: {a_run}.")
    return found


def _read_all(folders: Sequence[tuple[RunFolder, str]], problems: list[str]) -> list[Run]:
    runs: list[Run] = []
    for folder, label in folders:
        try:
            run = read_run(folder, label=label)
            if len(folders) <= MAX_CHECKED:
                _ = run.metrics, run.curves, run.events
            _ = run.digest, run.standing
            if len(folders) > MAX_HELD:
                run.forget_logs()
        except MemoryError:
            problems.append(f"{label}: its logs do not fit into the memory")
        except (UnreadableRunError, OSError) as error:
            why = f"{Path(str(error.filename)).name}: {error.strerror}" if isinstance(error, OSError) else error
            problems.append(" ".join(f"{label}: {why}".split()))
        else:
            runs.append(run)
    return runs
