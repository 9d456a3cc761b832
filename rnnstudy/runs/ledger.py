"""Ledger of the runs asked for together, kept beside their folders: it shows which are missing."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rnnstudy.core.errors import RnnstudyError
from rnnstudy.runs.folder import FORMAT, RECORDS, RunFolder, open_unlinked, write_atomically, write_json
from rnnstudy.runs.identity import fingerprint
from rnnstudy.runs.job import Job
from rnnstudy.runs.untrusted import find_mapping


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One line of a ledger, identified by its place.

    Args:
        folder: Folder of the run; it need not exist yet.
        job: The run.
        ledger: Path of the ledger.
        at: Offset of the line in it, in bytes.
    """

    folder: RunFolder = field(compare=False)
    job: Job = field(compare=False)
    ledger: Path
    at: int


@dataclass(frozen=True)
class Ledger:
    """Runs of one sweep in one folder, as JSON lines at `path`. Their hash names the file, so that it never changes."""

    path: Path

    @property
    def command(self) -> str:
        """Command line that last asked for the runs; empty if it cannot be read."""
        return str(self._about.get("command", ""))

    @property
    def started(self) -> str:
        """When `command` was given, ISO 8601; empty if it cannot be read."""
        return str(self._about.get("started", ""))

    def entries(self) -> Iterator[LedgerEntry]:
        """Yield the runs in order; raise RnnstudyError if the file is damaged."""
        with open(self.path, "rb", opener=open_unlinked) as file:
            at = 0
            for line in file:
                yield self._entry(line, at)
                at += len(line)

    def read_at(self, at: int) -> LedgerEntry:
        """Return the run whose line begins `at` bytes into the file; raise RnnstudyError if the file is damaged."""
        with open(self.path, "rb", opener=open_unlinked) as file:
            file.seek(at)
            return self._entry(file.readline(), at)

    def _entry(self, line: bytes, at: int) -> LedgerEntry:
        try:
            content = json.loads(line)
            job = Job(config=content["config"], overrides=content["overrides"], label=content["label"])
            folder = RunFolder(Path(content["folder"]))
            return LedgerEntry(folder=folder, job=job, ledger=self.path, at=at)
        except (ValueError, KeyError, TypeError, RecursionError):
            way_out = "Remove it: the runs themselves are not in it."
            raise RnnstudyError(f"{self.path} is damaged (byte {at}). {way_out}") from None

    @property
    def _about(self) -> dict[str, Any]:
        return find_mapping(self.path.with_suffix(".json")) or {}


def write_ledger(output_dir: Path, jobs: Sequence[tuple[Job, RunFolder]], command: str) -> Ledger:
    """Write a new ledger of runs that `command` asks for together, and return it; raise OSError if that fails."""
    lines: list[str] = []
    for job, folder in jobs:
        place = {"folder": str(folder.path.absolute()), "fingerprint": fingerprint(job.config), "label": job.label}
        lines.append(json.dumps({**place, "overrides": job.overrides, "config": job.config}) + "\n")
    content = "".join(lines).encode()
    ledger = Ledger(output_dir / RECORDS / "sweeps" / f"{hashlib.sha256(content).hexdigest()[:16]}.jsonl")
    ledger.path.parent.mkdir(parents=True, exist_ok=True)
    # Replace any file of that name: workers do what the ledger says.
    write_atomically(ledger.path, content)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    about = {"format": FORMAT, "command": command, "started": started, "runs": len(jobs)}
    write_json(ledger.path.with_suffix(".json"), about)
    return ledger


def find_ledgers(output_dir: Path) -> list[Ledger]:
    """Return the ledgers beside the run folders of a study, the last used at the end."""
    found = [Ledger(path) for path in (output_dir / RECORDS / "sweeps").glob("*.jsonl")]
    return sorted(found, key=lambda ledger: (ledger.started, ledger.path.name))
