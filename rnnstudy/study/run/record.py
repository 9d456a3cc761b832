"""Records that a run leaves beside its logs: manifest, result, a summary for people."""

import hashlib
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from rnnstudy.core.seeding import make_generator
from rnnstudy.runs.folder import FORMAT, RunFolder
from rnnstudy.runs.identity import fingerprint, short_name
from rnnstudy.runs.run import read_run
from rnnstudy.study.jobs.check import PlannedRun
from rnnstudy.study.run.provenance import commit, device_name, versions
from rnnstudy.tasks.base import Task
from rnnstudy.training.loop import Training
from rnnstudy.training.replicas import NEVER
from rnnstudy.writers.run_log import RunLog


def manifest(planned: PlannedRun, device: torch.device) -> dict[str, Any]:
    """Return the content of run.json: everything known about a run before it trains."""
    job, plan = planned.job, planned.plan
    mitigations = zip(job.config["mitigation"], plan.mitigations, strict=True)
    return {
        "format": FORMAT,
        "name": short_name(job.config, job.overrides),
        "overrides": job.overrides,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "commit": commit(),
        "device": device_name(device),
        "seed": plan.run.seed,
        "replicas": plan.run.replicas,
        "fingerprint": fingerprint(job.config),
        "data_digest": plan.task.data_digest,
        "facts": _facts(plan.task.held_out()),
        "edits_adjoints": [name for name, mitigation in mitigations if mitigation.edits_adjoints()],
    }


def _facts(task: Task) -> dict[str, Any]:
    facts, solved = task.facts, task.facts.solved
    asked = task.sample(1, make_generator(0, "facts"))
    at_end = asked.loss_steps.tolist() == [facts.seq_len - 1]
    return {
        "loss_at_end": at_end,
        "answer_gradient": facts.answer_at_end and not at_end,
        "seq_len": facts.seq_len,
        "chance_loss": facts.chance_loss,
        "chance_accuracy": facts.chance_accuracy,
        "memoryless_loss": facts.memoryless_loss,
        "solved_metric": solved and solved.metric,
        "solved_at": solved and solved.threshold,
        "solved_when": solved and solved.direction,
        "informative_steps": list(facts.informative_steps),
    }


def result_of(planned: PlannedRun, training: Training, device: torch.device) -> dict[str, Any]:
    """Return the content of result.json: the outcome of a run, one entry per replica."""
    folder, run = planned.folder, planned.plan.run
    states, (final, final_steps) = training.states, _final_figures(folder, run.replicas)
    return {
        "format": FORMAT,
        "status": states.names(),
        "steps_to_solve": _or_null(states.steps_to_solve),
        "diverged_at": _or_null(states.diverged_at),
        "steps": training.step,
        "skipped": states.skipped.tolist(),
        "final": final,
        "final_steps": final_steps,
        "config_sha256": hashlib.sha256(folder.config.read_bytes()).hexdigest(),
        "digest": read_run(folder, label=folder.path.name).digest.to_json(),
        "wall_seconds": round(training.seconds, 2),
        "phase_seconds": {phase: round(seconds, 3) for phase, seconds in training.phases.seconds.items()},
        "seed": run.seed,
        "device": device_name(device),
        "versions": versions(),
        "commit": commit(),
    }


def _or_null(steps: Tensor) -> list[int | None]:
    return [None if step == NEVER else step for step in steps.tolist()]


Steps = int | list[int | None]


def _final_figures(folder: RunFolder, replicas: int) -> tuple[dict[str, list[float | None]], dict[str, Steps]]:
    """Return the last logged figure of every tag and replica, None without any, and the steps they are of.

    The steps of a tag are one number where all replicas share it.
    """
    final: dict[str, list[float | None]] = {}
    steps: dict[str, list[int | None]] = {}
    with closing(RunLog(folder)) as log:
        for record in log.metrics():
            for tag, figure in record.items():
                if tag not in {"step", "replica"}:
                    final.setdefault(tag, [None] * replicas)[record["replica"]] = figure
                    steps.setdefault(tag, [None] * replicas)[record["replica"]] = record["step"]
    shared = {tag: each[0] if len(set(each)) == 1 and each[0] is not None else each for tag, each in steps.items()}
    return final, shared


def summary_line(training: Training, folder: RunFolder, *, judged: bool) -> str:
    """Return the last line of a run on the screen and in its history."""
    names = training.states.names()
    told = [f"solved {names.count('solved')} of {len(names)} replicas" if judged else f"trained {len(names)} replicas"]
    steps = training.states.steps_to_solve
    solved = steps[steps != NEVER]
    if len(solved):
        told.append(f"first after {int(solved.min())} steps, last after {int(solved.max())}")
    if "diverged" in names:
        told.append(f"{names.count('diverged')} diverged")
    return f"{', '.join(told)}; {training.step} steps in {training.seconds:.0f} s ({folder.path})"
