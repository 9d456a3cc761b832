"""Synthetic run folders: what a sweep would have written, without training."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """One run to make up.

    Args:
        decay: Factor of the gradient norm per unit of lag at the first probe.
        late_decay: The same at the last probe.
        speed: Steps until half of the task is learnt; 0 for never.
    """

    model: str = "lstm"
    mitigation: Sequence[str] = ()
    settings: dict[str, Any] | None = None
    replicas: int = 8
    seq_len: int = 24
    num_steps: int = 2000
    decay: float = 0.8
    late_decay: float = 0.95
    speed: float = 500.0
    diverged: int = 0
    finished: bool = True
    seed: int = 0
    probes: int = 21
    accuracy: bool = True


def write_run(folder: Path, spec: Synthetic) -> Path:
    """Write the folder of one run."""
    folder.mkdir(parents=True)
    random = np.random.default_rng([spec.seed, len(spec.mitigation), *spec.model.encode()])
    (folder / "config.yaml").write_text(yaml.safe_dump(_config(spec, folder)))
    manifest = {
        "format": 1,
        "versions": {"rnnstudy": "0.1.0"},
        "commit": None,
        "device": "cpu",
        "seed": spec.seed,
        "replicas": spec.replicas,
        "facts": {
            "chance_loss": 2.08,
            "chance_accuracy": 0.125 if spec.accuracy else None,
            "memoryless_loss": 2.08,
            "loss_at_end": True,
            "solved_metric": "accuracy",
            "solved_at": 0.99,
            "solved_when": "at_least",
            "seq_len": spec.seq_len,
            "informative_steps": [1],
        },
        "started": "2025-01-01T00:00:00+00:00",
    }
    (folder / "run.json").write_text(json.dumps(manifest))
    rows, to_solve, final = _metrics(spec, random)
    write_jsonl(folder / "metrics.jsonl", rows)
    write_jsonl(folder / "curves.jsonl", _curves(spec, random, to_solve))
    status = [
        "diverged" if r < spec.diverged else "solved" if to_solve[r] is not None else "finished"
        for r in range(spec.replicas)
    ]
    if spec.finished:
        result = {
            "format": 1,
            "status": status,
            "steps_to_solve": to_solve,
            "steps": spec.num_steps,
            "final": final,
            "wall_seconds": 42.5,
            "seed": spec.seed,
            "device": "cpu",
            "versions": {},
        }
        (folder / "result.json").write_text(json.dumps(result))
    return folder


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write one JSON line per row."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text())


def edit_json(path: Path, **changes: Any) -> None:
    """Change entries of a JSON file."""
    path.write_text(json.dumps(read_json(path) | changes))


def edit_config(folder: Path, **changes: Any) -> None:
    """Change top-level entries of a run's configuration."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


def write_sweep(root: Path, *, replicas: int = 8) -> Path:
    """Write a sweep of three models, each without and with two mitigations."""
    decays = {"rnn": (0.55, 0.5, 0.0), "gru": (0.8, 0.93, 900.0), "lstm": (0.75, 0.95, 700.0)}
    for model, (first, last, speed) in decays.items():
        for number, mitigation in enumerate([(), ("clip_norm",), ("orthogonal_init",)]):
            spec = Synthetic(
                model=model,
                mitigation=mitigation,
                replicas=replicas,
                decay=min(0.98, first + 0.08 * number),
                late_decay=min(0.99, last + 0.05 * number),
                speed=1900.0 if not speed and number == 2 else speed / (1 + 0.5 * number),
                diverged=1 if model == "rnn" and number == 0 else 0,
            )
            write_run(root / "-".join([model, *mitigation]), spec)
    return root


def _config(spec: Synthetic, folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = {
        "choices": {
            "task": "coconut_water",
            "model": spec.model,
            "mitigation": list(spec.mitigation),
            "optimizer": "adam",
        },
        "task": {"_target_": "rnnstudy.tasks.coconut_water.CoconutWater", "lag": spec.seq_len - 2},
        "model": {"_target_": f"rnnstudy.models.{spec.model}.Model", "hidden_size": 64, "num_layers": 1},
        "mitigation": {name: {"_target_": f"x.{name}", "max_norm": 1.0} for name in spec.mitigation},
        "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.001},
        "train": {"num_steps": spec.num_steps, "batch_size": 64},
        "output_dir": str(folder),
        "seed": spec.seed,
        "replicas": spec.replicas,
        "device": "cpu",
    }
    return config | (spec.settings or {})


def _metrics(
    spec: Synthetic, random: np.random.Generator
) -> tuple[list[dict[str, Any]], list[int | None], dict[str, list[float]]]:
    middle = spec.speed * random.uniform(0.7, 1.5, spec.replicas)
    rows: list[dict[str, Any]] = []
    to_solve: list[int | None] = [None] * spec.replicas
    final: dict[str, list[float]] = {"eval/loss": [2.08] * spec.replicas}
    if spec.accuracy:
        final["eval/accuracy"] = [0.125] * spec.replicas
    for replica in range(spec.replicas):
        for step in range(0, spec.num_steps + 1, 20):
            learnt = 1 / (1 + np.exp(-(step - middle[replica]) / 60)) if spec.speed else 0.0
            loss = 2.08 * (1 - learnt) + 0.005 + 0.03 * random.random()
            accuracy = min(1.0, 0.125 + 0.875 * learnt + 0.01 * random.normal())
            if replica < spec.diverged and step > 400:
                rows.append({"step": step, "replica": replica, "train/loss": float("nan"), "eval/loss": float("nan")})
                final["eval/loss"][replica] = float("nan")
                break
            row: dict[str, Any] = {"step": step, "replica": replica, "train/loss": loss, "eval/loss": loss}
            final["eval/loss"][replica] = loss
            if spec.accuracy:
                row["eval/accuracy"] = final["eval/accuracy"][replica] = float(accuracy)
            if "clip_norm" in spec.mitigation:
                row |= {"clip_norm/active": float(random.random() < 0.4), "clip_norm/coefficient": 0.8}
            rows.append(row | {"grad_norm/raw": float(np.exp(random.normal())), "train/skipped": 0})
            if accuracy >= 0.99:
                to_solve[replica] = step
                break
    return rows, to_solve, final


def _curves(spec: Synthetic, random: np.random.Generator, to_solve: Sequence[int | None]) -> list[dict[str, Any]]:
    lags = np.arange(spec.seq_len)[::-1]
    rows: list[dict[str, Any]] = []
    for step in np.linspace(0, spec.num_steps, spec.probes).astype(int).tolist():
        weight = step / spec.num_steps
        for replica in range(spec.replicas):
            limit = to_solve[replica]
            if limit is not None and step > limit:
                continue
            decay = (1 - weight) * spec.decay + weight * spec.late_decay + 0.015 * random.normal()
            values = 0.5 * np.clip(decay, 0.05, 1.2) ** lags * np.exp(0.1 * random.normal(size=spec.seq_len))
            for layer in range(1):
                tag = f"hidden_grad_norm/h/layer_{layer}/total"
                rows.append({"step": step, "replica": replica, "tag": tag, "values": values.tolist()})
    return rows
