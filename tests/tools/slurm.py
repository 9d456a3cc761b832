"""A Slurm cluster of one node on this machine, for tests."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm_here.sh"
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scancel", "scontrol")


def why_not() -> str | None:
    """Why there can be no cluster here; None if there can."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"needs Slurm's programs; missing: {', '.join(missing)}"
    return None if os.geteuid() == 0 else "needs root, to start Slurm's daemons"


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start a cluster, and stop it at the end.

    Yields:
        The environment for commands that are to use it.
    """
    started = subprocess.run([SCRIPT, "start", folder], capture_output=True, text=True)
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        yield {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "COLUMNS": "500"}
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=True)


def queue(env: dict[str, str], *options: str) -> list[str]:
    """The jobs in the queue, as `12_3`."""
    asked = subprocess.run(
        ["squeue", "--noheader", "--array", "--format=%i", *options],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    return asked.stdout.split()
