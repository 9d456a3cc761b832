"""Synthetic run folders: what a sweep would have written, without training."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from rnnstudy.runs.events import Event, Events, EventStep


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """One run to make up.

    Args:
        decay: Factor of the gradient norm per unit of lag at the first probe.
        late_decay: The same at the last probe.
        speed: Steps until half of the task is learnt; 0 for never.
        digest: Whether the result has a digest of the logs, as those of older versions have not.
        parts: Of the gradient, of which norms over time steps are logged.
        extra_tags: Scalars logged besides those that are read.
        extremes: Whether those of every step are logged, as older versions have not.
        diverged_at: With them, steps at which the first replicas are given up.
        spikes: Likewise, steps of each replica that spiked.
        growth: Likewise, log10 of the gradient norm at lag 5 over that at lag 0, at a spike of replica 0; no probe
            shows it.
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
    digest: bool = False
    parts: Sequence[str] = ("total",)
    extra_tags: int = 0
    extremes: bool = False
    diverged_at: Sequence[int] = ()
    spikes: int = 0
    growth: float | None = None


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
        "fingerprint": _fingerprint(spec),
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
    curves = _curves(spec, random, to_solve)
    write_jsonl(folder / "metrics.jsonl", rows)
    write_jsonl(folder / "curves.jsonl", curves)
    if spec.growth is not None:
        (folder / "events.json").write_text(json.dumps(_events(spec, spec.growth).to_json()))
    lost = max(spec.diverged, len(spec.diverged_at))
    status = [
        "diverged" if r < lost else "solved" if to_solve[r] is not None else "finished" for r in range(spec.replicas)
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
        if spec.extremes:
            result["diverged_at"] = [*spec.diverged_at, *[None] * (spec.replicas - len(spec.diverged_at))]
        if spec.digest:
            result["digest"] = _digest(rows, curves, spec.replicas)
        (folder / "result.json").write_text(json.dumps(result))
    return folder


def write_part(run: Path, folder: Path, replicas: range) -> Path:
    """Write the finished run that trained some replicas of another one alone; its seed is that of the first."""

    def part(value: Any) -> Any:
        """Return lists with an entry per replica, and mappings of them, without the others."""
        if isinstance(value, dict):
            return {key: part(each) for key, each in value.items()}
        return value[replicas.start : replicas.stop] if isinstance(value, list) else value

    def rows(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row | {"replica": row["replica"] - replicas.start} for row in found if row["replica"] in replicas]

    folder.mkdir(parents=True)
    manifest = read_json(run / "run.json")
    own = {"seed": manifest["seed"] + replicas.start, "replicas": len(replicas)}
    (folder / "run.json").write_text(json.dumps(manifest | own | {"fingerprint": f"{replicas.start}-{replicas.stop}"}))
    (folder / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    edit_config(folder, **own)
    for name in ("metrics.jsonl", "curves.jsonl"):
        write_jsonl(folder / name, rows([json.loads(line) for line in (run / name).read_text().splitlines()]))
    if (run / "events.json").exists():
        events = read_json(run / "events.json")
        events = {"first_nonfinite": part(events["first_nonfinite"]), "events": rows(events["events"])}
        (folder / "events.json").write_text(json.dumps(events))
    (folder / "result.json").write_text(json.dumps(part(read_json(run / "result.json")) | {"seed": own["seed"]}))
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


def _fingerprint(spec: Synthetic) -> str:
    """A hash of what can change the figures."""
    essence = [spec.model, list(spec.mitigation), spec.settings, spec.seed, spec.replicas, spec.num_steps, spec.seq_len]
    return hashlib.sha256(json.dumps(essence).encode()).hexdigest()[:8]


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
        "output_dir": str(folder.parent),
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
            if replica < len(spec.diverged_at) and step >= spec.diverged_at[replica]:
                rows.append({"step": step, "replica": replica, "train/diverged": 1, "train/largest_raw_norm": 1e9})
                break
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
            row |= {"grad_norm/raw": float(np.exp(random.normal())), "train/skipped": 0}
            if spec.extremes:
                spikes = spec.spikes if step == 20 else 0
                row |= {
                    "train/diverged": 0,
                    "train/spikes": spikes,
                    "train/clipped_steps": 20 * ("clip_norm" in spec.mitigation),
                }
                row |= {"train/largest_raw_norm": 100.0 if spikes else 2.0, "train/largest_loss": 3.0}
            row |= _reach(spec, step, replica, final)
            measured = spec.extra_tags if step % 100 == 0 else 0
            extra = {f"extra_{number}/value": random.random() for number in range(measured)}
            for tag, value in extra.items():
                final.setdefault(tag, [0.0] * spec.replicas)[replica] = value
            rows.append(row | extra)
            if accuracy >= 0.99:
                to_solve[replica] = step
                break
    return rows, to_solve, final


def _events(spec: Synthetic, growth: float) -> Events:
    """Return one spike of replica 0, whose gradient explodes on its way back."""
    norms = [1.0] * spec.seq_len
    norms[-6] = 10.0**growth
    step = EventStep(step=10, loss=3.0, raw_norm=100.0, clipped_norm=1.0, norms={"h/layer_0/total": norms})
    event = Event(replica=0, nonfinite=False, batch=10, ends=(), steps=(step,), histograms={})
    return Events(first_nonfinite=(None,) * spec.replicas, events=(event,))


def _reach(spec: Synthetic, step: int, replica: int, final: dict[str, list[float]]) -> dict[str, float]:
    """Horizon and decay of a replica; a generator of their own leaves the other figures as they are."""
    weight = step / spec.num_steps
    noise = np.random.default_rng([spec.seed, replica, step]).normal()
    decay = float(np.log10((1 - weight) * spec.decay + weight * spec.late_decay) + 0.005 * noise)
    lag = float(min(spec.seq_len - 1, -2 // decay)) if decay < 0 else spec.seq_len - 1.0
    found = {"horizon/h/layer_0/lag": lag, "horizon/h/layer_0/decay": decay}
    for tag, value in found.items():
        final.setdefault(tag, [0.0] * spec.replicas)[replica] = value
    return found


def _digest(
    rows: Sequence[dict[str, Any]], curves: Sequence[dict[str, Any]], replicas: int
) -> dict[str, dict[str, list[float]] | list[float]]:
    active: dict[str, list[float]] = {}
    for tag in {tag for row in rows for tag in row if tag.endswith("/active")}:
        logged = [[row[tag] for row in rows if row["replica"] == r and tag in row] for r in range(replicas)]
        active[tag.removesuffix("/active")] = [float(np.mean(values)) for values in logged]
    totals = [row for row in curves if row["tag"].endswith("/total")]
    norms = [[row["values"] for row in totals if row["replica"] == r] for r in range(replicas)]
    return {
        "active": active,
        "log10_ratio_first": [float(np.log10(own[0][1] / own[0][-1])) for own in norms],
        "log10_ratio_last": [float(np.log10(own[-1][1] / own[-1][-1])) for own in norms],
    }


def _curves(spec: Synthetic, random: np.random.Generator, to_solve: Sequence[int | None]) -> list[dict[str, Any]]:
    lags = np.arange(spec.seq_len)[::-1]
    rows: list[dict[str, Any]] = []
    for step in np.linspace(0, spec.num_steps, spec.probes).astype(int).tolist():
        weight = step / spec.num_steps
        for replica in range(spec.replicas):
            limit = spec.diverged_at[replica] if replica < len(spec.diverged_at) else to_solve[replica]
            if limit is not None and step > limit:
                continue
            decay = (1 - weight) * spec.decay + weight * spec.late_decay + 0.015 * random.normal()
            values = 0.5 * np.clip(decay, 0.05, 1.2) ** lags * np.exp(0.1 * random.normal(size=spec.seq_len))
            for part in spec.parts:
                tag = f"hidden_grad_norm/h/layer_0/{part}"
                rows.append({"step": step, "replica": replica, "tag": tag, "values": values.tolist()})
    return rows


MODELS = ("rnn", "gru", "lstm", "indrnn", "lru")
REMEDIES = ((), ("clip_norm",), ("omega",), ("clip_norm", "omega"))
LAGS = (19, 24, 30, 40, 50, 60, 80, 100, 150, 200)


def write_many(root: Path, count: int, **changes: Any) -> Path:
    """Write many finished runs that all differ: models x remedies x lags x learning rates, in this order.

    The runs of one model and remedy share the files of their logs; their configurations and results are their own.
    Sizes are those of a default run, but for `changes` of what `Synthetic` takes.
    """
    kinds = len(MODELS) * len(REMEDIES)
    for number in range(count):
        kind, setting = number % kinds, number // kinds
        model, remedy = MODELS[kind % len(MODELS)], REMEDIES[kind // len(MODELS)]
        template = root / ".templates" / "-".join([model, *remedy])
        if not template.exists():
            write_run(template, replace(_default_like(model, remedy), **changes))
        lag, rate = LAGS[setting % len(LAGS)], 0.001 * (1 + setting // len(LAGS))
        _write_like(template, root / f"{'+'.join([model, *remedy])}_lag={lag}_{number:08x}", lag, rate)
    return root


def _default_like(model: str, remedy: Sequence[str]) -> Synthetic:
    names = ("hidden_grad_norm", "hidden_grad_histogram", "grad_norm", "horizon", "credit", "update_size", "spectral")
    names = (*names, "saturation", "replay", "lyapunov", "jacobian_norms")
    every = {"_target_": "rnnstudy.core.schedule.Every", "interval": 100}
    return Synthetic(
        model=model,
        mitigation=remedy,
        speed=0 if model == "rnn" else 900,
        digest=True,
        parts=("total", "direct", "carried"),
        extra_tags=24,
        settings={
            "task": {"_target_": "rnnstudy.tasks.coconut_water.CoconutWater", "lag": "LAG", "target": "answer"},
            "optimizer": {"_target_": "torch.optim.Adam", "lr": "RATE", "betas": [0.9, 0.999], "eps": 1e-8},
            "instrument": {name: {"_target_": f"x.{name}", "schedule": dict(every)} for name in names},
            "eval": {"seq_lens": []},
            "numerics": {"threads": 1, "flush_subnormals": True, "tf32": False},
            "study": None,
            "run_dir": None,
        },
    )


def _write_like(template: Path, folder: Path, lag: int, rate: float) -> None:
    folder.mkdir()
    (folder / "checkpoints").mkdir()
    config = (template / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("lag: LAG", f"lag: {lag}").replace("lr: RATE", f"lr: {rate}"))
    manifest = read_json(template / "run.json")
    (folder / "run.json").write_text(json.dumps(manifest | {"fingerprint": folder.name[-8:]}, indent=2))
    result = read_json(template / "result.json")
    random = np.random.default_rng([lag, int(1e6 * rate)])
    hard = min(1.0, lag / 100 * random.uniform(0.5, 1.5))
    steps = [None if each is None or random.random() < hard else each for each in result["steps_to_solve"]]
    result["steps_to_solve"] = steps
    result["status"] = ["finished" if each is None else "solved" for each in steps]
    final = result["final"]
    final["eval/loss"] = [value + hard * random.random() for value in final["eval/loss"]]
    final["horizon/h/layer_0/decay"] = (np.array(final["horizon/h/layer_0/decay"]) * (1 + hard)).tolist()
    final["horizon/h/layer_0/lag"] = random.integers(0, lag, len(steps)).astype(float).tolist()
    (folder / "result.json").write_text(json.dumps(result, indent=2))
    for name in ("metrics.jsonl", "curves.jsonl"):
        (folder / name).hardlink_to(template / name)
