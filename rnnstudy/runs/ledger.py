"""The list of the runs that were asked for together, beside their folders: what is missing is known from it."""

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
    """One line of a ledger, known by its place.

    Args:
        folder: Where the run is, or is to be.
        job: The run.
        ledger: The file.
        at: Where the line begins in it, in bytes.
    """

    folder: RunFolder = field(compare=False)
    job: Job = field(compare=False)
    ledger: Path
    at: int


@dataclass(frozen=True)
class Ledger:
    """The runs of one sweep in one folder. The file is named by what it holds, so that it never changes.

    Args:
        path: Of the JSON lines.
    """

    path: Path

    @property
    def command(self) -> str:
        """The command line that asked for the runs last; empty if it cannot be read."""
        return str(self._about.get("command", ""))

    @property
    def started(self) -> str:
        """When that was, ISO 8601; empty if it cannot be read."""
        return str(self._about.get("started", ""))

    def entries(self) -> Iterator[LedgerEntry]:
        """Yield the runs in their order; raise RnnstudyError if the file is damaged."""
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
            raise RnnstudyError(
                f"{self.path} is damaged (byte {at}). Remove it: the runs themselves are not in it."
            ) from None

    @property
    def _about(self) -> dict[str, Any]:
        return find_mapping(self.path.with_suffix(".json")) or {}


def write_ledger(output_dir: Path, jobs: Sequence[tuple[Job, RunFolder]], command: str) -> Ledger:
    """Return a new list of runs that are asked for together; raise OSError if it cannot be written.

    Args:
        output_dir: Folder of the run folders.
        jobs: The runs with their folders.
        command: Command line that asks for them.
    """
    lines = "".join(
        json.dumps(
            {
                "folder": str(folder.path.absolute()),
                "fingerprint": fingerprint(job.config),
                "label": job.label,
                "overrides": job.overrides,
                "config": job.config,
            }
        )
        + "\n"
        for job, folder in jobs
    ).encode()
    folder = output_dir / RECORDS / "sweeps"
    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(folder / f"{hashlib.sha256(lines).hexdigest()[:16]}.jsonl")
    # Whatever has that name already: workers do what it says.
    write_atomically(ledger.path, lines)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    about = {"format": FORMAT, "command": command, "started": started, "runs": len(jobs)}
    write_json(ledger.path.with_suffix(".json"), about)
    return ledger


def find_ledgers(output_dir: Path) -> list[Ledger]:
    """Return the ledgers beside the run folders of a study, the one used last at the end."""
    found = [Ledger(path) for path in (output_dir / RECORDS / "sweeps").glob("*.jsonl")]
    return sorted(found, key=lambda ledger: (ledger.started, ledger.path.name))
