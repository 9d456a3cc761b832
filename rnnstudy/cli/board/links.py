"""Event files below a folder, linked for TensorBoard under names that distinguish the runs."""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain, count, takewhile
from pathlib import Path
from typing import NamedTuple

from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.untrusted import read_json

_HASHED = re.compile(r"(?P<name>.+)_(?P<hash>[0-9a-f]{8})")
"""A folder named by `rnnstudy train`."""

_SETTING = re.compile(r" (?=[^\s=]+=)")
"""The gap before a setting in a run's name; its value may itself hold gaps."""

_MANIFEST = RunFolder(Path()).manifest.name

_LONGEST = 200
"""Longest run name in bytes: file systems allow 255, and some are needed to distinguish runs."""

_LONGEST_PART = 60
"""Longest setting, in bytes, of a name that is too long."""

_GAP = "…"
"""Sign in the place of what is left out of a name."""


class BoardView:
    """A folder that TensorBoard reads in place of the one with the runs.

    TensorBoard names a run after its folder. Here every folder with event files has a twin that bears the run's own
    name ("lstm+clip_norm lag=40" in place of "lstm+clip_norm_lag=40_1a2b3c4d"). It holds links to the files, which
    TensorBoard follows as they grow. A name, once given, stays.

    Args:
        source: Folder that holds runs at any depth, or is one.
        folder: Folder for the links; it must exist.
        most: Maximum number of folders to show, together with the sub-runs; beyond that, sub-runs are left out.
    """

    def __init__(self, source: Path, folder: Path, most: int) -> None:
        """Link the event files that exist."""
        self._source, self._folder, self._most = source.absolute(), folder, most
        self._names: dict[Path, str] = {}
        self._told: dict[Path, str] = {}
        self._links: dict[Path, Path] = {}
        self.runs: list[str] = []
        self.sub_runs: list[str] = []
        self.left_out = 0
        self.refresh()

    def refresh(self) -> None:
        """Link event files that have come, and drop those that have gone, since the last call."""
        found = list(_event_folders(self._source))
        self._give_names({each.run for each in found})
        names = {each.folder: str(Path(self._names[each.run], each.folder.relative_to(each.run))) for each in found}
        self.runs = sorted(names[each.folder] for each in found if each.folder == each.run)
        self.sub_runs = sorted(set(names.values()) - set(self.runs))
        self.left_out = len(self.sub_runs) if len(names) > self._most else 0
        if self.left_out:
            self.sub_runs = []
        shown = {*self.runs, *self.sub_runs}
        links = {
            self._folder / names[each.folder] / file: each.folder / file
            for each in found
            if names[each.folder] in shown
            for file in each.files
        }
        for link in self._links.keys() - links.keys():
            link.unlink(missing_ok=True)
        for link in links.keys() - self._links.keys():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(links[link])
        self._links = links

    def _give_names(self, owners: set[Path]) -> None:
        self._names = {owner: name for owner, name in self._names.items() if owner in owners}
        several = len({owner.parent for owner in owners}) > 1
        new = sorted(owners - self._names.keys())
        telling = {owner: _telling(owner) for owner in new}
        self._told = {owner: name for owner, name in self._told.items() if owner in owners} | telling
        # A later run might not share these.
        if not self._names:
            telling = _without_shared(telling)
        fitted = _fitted(telling, self._told.values())
        plain = {owner: self._prefixed(owner, name, several) for owner, name in fitted.items()}
        alike = Counter(plain.values())
        taken = set(self._names.values())
        for owner in new:
            full = self._prefixed(owner, owner.name, several)
            hashed = _HASHED.fullmatch(owner.name)
            told_apart = f"{plain[owner]} {hashed['hash']}" if hashed else full
            names = chain([told_apart, full], (f"{full} {number}" for number in count(2)))
            if alike[plain[owner]] == 1:
                names = chain([plain[owner]], names)
            self._names[owner] = next(name for name in names if name not in taken)
            taken.add(self._names[owner])

    def _prefixed(self, owner: Path, name: str, several: bool) -> str:
        is_below = several and owner != self._source
        return str(owner.relative_to(self._source).parent / name) if is_below else name


def _telling(folder: Path) -> str:
    """Return the name a run gave itself, or its folder's: as the user chose it, or without the hash."""
    hashed = _HASHED.fullmatch(folder.name)
    if hashed is None:
        return folder.name
    try:
        name = read_json(RunFolder(folder).manifest)["name"]
    except (OSError, ValueError, KeyError, TypeError):
        name = None
    if not isinstance(name, str) or not name.strip(" ."):
        name = hashed["name"]
    return "".join(letter if letter.isprintable() and letter != "/" else "-" for letter in name)


def _without_shared(names: dict[Path, str]) -> dict[Path, str]:
    """Remove the settings that all names share from names such as "lstm lag=40 steps=500"."""
    parts = {owner: _SETTING.split(name) for owner, name in names.items()}
    shared = set[str]().union(*(each[1:] for each in parts.values()))
    shared.intersection_update(*(each[1:] for each in parts.values()))
    if len(names) < 2 or not shared:
        return names
    left = {owner: " ".join(part for part in each if part not in shared) for owner, each in parts.items()}
    # A name of dots alone would lead out of the folder.
    return {owner: name if name.strip(" .") else names[owner] for owner, name in left.items()}


def _fitted(names: dict[Path, str], known: Iterable[str]) -> dict[Path, str]:
    """Shorten the names that are too long for a folder to what distinguishes them from all `known` ones."""
    long = {owner: name for owner, name in names.items() if len(name.encode()) > _LONGEST and name != owner.name}
    if not long:
        return names
    tables = [dict(map(_key_and_value, _SETTING.split(name))) for name in known]
    values = {key: {table.get(key, "") for table in tables} for key in set[str]().union(*tables)}
    return names | {owner: _fit(name, values) for owner, name in long.items()}


def _fit(name: str, values: Mapping[str, Collection[str]]) -> str:
    """Return a name of its first part and those of most different `values` in all names, as many as fit, in order."""
    parts = [_key_and_value(part) for part in _SETTING.split(name)]
    shown: dict[int, str] = {}
    room = _LONGEST
    for place in sorted(range(len(parts)), key=lambda place: (place > 0, -len(values[parts[place][0]]), place)):
        key, value = parts[place]
        part = key + _cut(value, values[key])
        # With a gap before and after it.
        size = len(f" {part} {_GAP}".encode())
        if size <= room:
            shown[place], room = part, room - size
    told = [shown.get(place, _GAP) for place in range(len(parts))]
    return " ".join(part for part, before in zip(told, ["", *told], strict=False) if not part == before == _GAP)


def _key_and_value(part: str) -> tuple[str, str]:
    """Split a part of a name behind its equals sign; the first part, model and mitigations, has no key."""
    key, equals, value = part.partition("=")
    return (key + equals, value) if equals else ("", part)


def _cut(value: str, others: Collection[str]) -> str:
    """Return a value; of one that is too long, leave out the ends that all `others` share, then the middle."""
    if len(others) > 1 and len(value.encode()) > _LONGEST_PART:
        start = _length_shared(others)
        end = _length_shared([other[start:][::-1] for other in others])
        value = f"{_GAP if start else ''}{value[start : len(value) - end]}{_GAP if end else ''}"
    encoded, half = value.encode(), _LONGEST_PART // 2
    if len(encoded) <= _LONGEST_PART:
        return value
    return f"{encoded[:half].decode(errors='ignore')}{_GAP}{encoded[-half:].decode(errors='ignore')}"


def _length_shared(texts: Collection[str]) -> int:
    """Return the number of letters at the start that all texts share."""
    return sum(1 for _ in takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False)))


class _EventFolder(NamedTuple):
    """Folder with event files, their names, and its run: it or the next folder above that is one of ours, else it."""

    folder: Path
    files: list[str]
    run: Path


def _event_folders(source: Path) -> Iterator[_EventFolder]:
    """Yield the folders that hold event files, each once; links are followed."""
    # A link to a folder above, at worst to the root, would cause a search of the whole disk.
    seen = {(state.st_dev, state.st_ino) for state in map(Path.stat, source.resolve().parents)}
    runs: dict[str, Path] = {}
    for place, folders, files in os.walk(source, followlinks=True):
        try:
            state = os.stat(place)
        except FileNotFoundError:
            continue
        if (state.st_dev, state.st_ino) in seen:
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        folders.sort()
        run = Path(place) if _MANIFEST in files else runs.get(os.path.dirname(place))
        if run is not None:
            runs[place] = run
        # A pipe would never end.
        if events := [file for file in files if "tfevents" in file and os.path.isfile(os.path.join(place, file))]:
            yield _EventFolder(Path(place), events, run or Path(place))
