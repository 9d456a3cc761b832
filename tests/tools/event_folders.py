"""Run folders that hold nothing but a name and an event file, as `rnnstudy board` finds them."""

import json
from pathlib import Path

EVENTS = "events.out.tfevents.1.host.1.0"


def add_run(folder: Path, name: object = None, *, file: str = EVENTS, sub_runs: tuple[int, ...] = ()) -> Path:
    """Make a run, with sub-runs of some training steps; every event file holds the path of its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps({} if name is None else {"name": name}))
    (folder / file).write_text(str(folder))
    for step in sub_runs:
        sub_run = folder / f"at_step_{step:06d}"
        sub_run.mkdir()
        (sub_run / EVENTS).write_text(str(sub_run))
    return folder
