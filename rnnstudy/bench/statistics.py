"""`rnnstudy bench statistics`: how often verdicts of `compare` are wrong or missing, and intervals miss the truth.

Simulated sweeps go through the functions that compare and describe real ones.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from scipy.special import ndtri

from rnnstudy.bench.results import new_table
from rnnstudy.bench.simulated import BUDGET, KINDS, Sweep, lognormal_times, made_up, mean_time
from rnnstudy.report.analysis.comparison import BETTER, HIGHER, LOWER, WORSE, Comparison, compare_all
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.analysis.tests import LEVEL
from rnnstudy.report.sentences.headline import headline
from rnnstudy.runs.folder import write_figures
from rnnstudy.runs.plan import CORRECTIONS

SHIFT = 1.5
"""Standard deviations of one network's figure by which a run is better, where power is measured."""

EQUAL_WEIGHTS = "spikes"
"""Measure that no simulated run has: as the primary one it leaves the others with equal weights."""

_RANKING, _CAVEAT = ("Best of", "fastest:", "lowest final loss"), "not shown to be more than chance"
_DESIGNS = {"paired": True, "no common seeds": False}
_SOLVED = (0.9, 0.7, 0.5, 0.3)
_STEADY = 100.0  # steps in which every network of a steady baseline solves the task
_TESTS = (
    ("mcnemar", True, 0.0),
    ("mcnemar_correlated", True, Sweep.correlation),
    ("boschloo", False, 0.0),
)  # whether pairs are tested, their correlation
_FRACTIONS = ((0.5, 0.5), (0.25, 0.75), (0.1, 0.6), (0.5, 0.95))  # solved: baseline, run


class Rate(NamedTuple):
    """How often something happened in so many trials."""

    hits: int
    trials: int

    @property
    def share(self) -> float | None:
        """Fraction from 0 to 1; None without trials."""
        return self.hits / self.trials if self.trials else None

    @property
    def error(self) -> float | None:
        """Monte Carlo standard error of the fraction; None without trials."""
        return None if self.share is None else math.sqrt(self.share * (1 - self.share) / self.trials)


Cell = dict[str, Rate]
Rows = Iterator[tuple[str, Callable[[int], Cell]]]
"""Labels, each with what is measured for a number of replicas."""

Drawn = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
"""Figures of a run and of its baseline, as `made_up` takes them."""

Draw = Callable[[np.random.Generator, int], Drawn]
"""Draws them for a number of replicas."""


def measure_statistics(
    console: Console,
    *,
    sweeps: int,
    replicas: Sequence[int],
    configurations: Sequence[int],
    seed: int,
    path: Path | None,
) -> None:
    """Simulate, print each table when it is complete, and write all rates to a JSON file if given.

    Each cell has `sweeps` trials: sweeps, or comparisons of two runs. `configurations` are numbers of runs in a sweep;
    the first is used for all kinds of figures, corrections and powers, the others for one kind.
    """
    tables = {
        "false verdicts": ("better or worse / higher or lower / any / a ranking without a caveat", _false_verdicts),
        "power": (f"{SHIFT} sd better: primary measure better / any measure better", _power),
        "coverage": ("all 95 % intervals / those not called rough / share called rough", _coverage),
        "tests of fractions": ("McNemar, independent pairs / McNemar, correlated pairs / Boschloo", _fraction_tests),
    }
    records: list[dict[str, Any]] = []
    for title, (figures, rows_of) in tables.items():
        table = new_table(
            f"{title.capitalize()}, %: {figures}",
            [""],
            [f"{count} replicas" for count in replicas],
            f"{sweeps} trials per figure: standard error {100 * math.sqrt(0.05 * 0.95 / sweeps):.1f} at 5 %, "
            f"{50 / math.sqrt(sweeps):.1f} at 50 %.",
        )
        for label, cell_of in rows_of(configurations, sweeps, seed):
            cells = {count: cell_of(count) for count in replicas}
            table.add_row(label, *(" / ".join(_percent(rate) for rate in cell.values()) for cell in cells.values()))
            for count, cell in cells.items():
                shares = {name: rate.share for name, rate in cell.items()}
                errors = {f"{name}_error": rate.error for name, rate in cell.items()}
                records.append({"table": title, "row": label, "replicas": count, **shares, **errors})
        console.print(table)
    if path is not None:
        write_figures(path, records)


def _percent(rate: Rate) -> str:
    return "-" if rate.share is None else f"{100 * rate.share:.1f}"


def verdict_rates(sweep: Sweep, sweeps: int, seed: int, **options: Any) -> Cell:
    """Return how often sweeps have verdicts of some kind; options are those of `compare_all`.

    judged: Any better or worse. directed: Any higher or lower. any: Any of both. ranked: A headline that ranks without
        a caveat. primary: The last run is better in the primary measure. improved: It is better in any measure.
    """
    source = [seed, list(KINDS).index(sweep.kind), sweep.configurations, sweep.replicas, sweep.paired]
    random, counts = np.random.default_rng(source), Counter[str]()
    for _ in range(sweeps):
        baseline, *others = sweep.draw(random)
        comparisons = _compared([(each, baseline) for each in others], **options)
        found = {effect.verdict for each in comparisons for effect in each.effects}
        main = comparisons[-1].main or comparisons[-1].effect("solved") or comparisons[-1].effect("loss")
        counts["judged"] += not found.isdisjoint({BETTER, WORSE})
        counts["directed"] += not found.isdisjoint({HIGHER, LOWER})
        counts["any"] += not found.isdisjoint({BETTER, WORSE, HIGHER, LOWER})
        counts["ranked"] += any(ranks(sentence) for sentence in headline([baseline, *others], comparisons))
        counts["primary"] += main is not None and main.verdict == BETTER
        counts["improved"] += any(effect.verdict == BETTER for effect in comparisons[-1].effects)
    return {name: Rate(hits, sweeps) for name, hits in counts.items()}


def ranks(sentence: str) -> bool:
    """Return whether a sentence of the headline ranks runs without a caveat."""
    return any(words in sentence for words in _RANKING) and _CAVEAT not in sentence


def _compared(pairs: Sequence[tuple[Summary, Summary]], **options: Any) -> list[Comparison]:
    return compare_all(pairs, figures_at=lambda *_: {}, **options)


def _verdicts(replicas: int, *, named: Sequence[str], sweep: Sweep, sweeps: int, seed: int, **options: Any) -> Cell:
    rates = verdict_rates(replace(sweep, replicas=replicas), sweeps, seed, **options)
    return {name: rates[name] for name in named}


def _false_verdicts(configurations: Sequence[int], sweeps: int, seed: int) -> Rows:
    first, *others = configurations
    rates = partial(_verdicts, named=("judged", "directed", "any", "ranked"), sweeps=sweeps, seed=seed)
    for kind in KINDS:
        yield f"{kind}, {first} runs", partial(rates, sweep=Sweep(kind=kind, configurations=first))
    for count in others:
        yield f"censored, {count} runs", partial(rates, sweep=Sweep(kind="censored", configurations=count))
    sweep = Sweep(kind="censored", configurations=first)
    yield "censored, no common seeds", partial(rates, sweep=replace(sweep, paired=False))
    for correct in CORRECTIONS[1:]:
        yield f"censored, correction {correct}", partial(rates, sweep=sweep, correct=correct)


def _power(configurations: Sequence[int], sweeps: int, seed: int) -> Rows:
    first, *others = configurations
    rates = partial(_verdicts, named=("primary", "improved"), sweeps=sweeps, seed=seed)
    sweep = Sweep(configurations=first, shift=SHIFT, correlation=0)
    for kind in KINDS:
        yield f"{kind}, {first} runs", partial(rates, sweep=replace(sweep, kind=kind))
    for count in others:
        yield f"normal, {count} runs", partial(rates, sweep=replace(sweep, configurations=count))
    for kind in ("normal", "censored"):
        alone = replace(sweep, kind=kind)
        yield f"{kind}, correlated pairs", partial(rates, sweep=replace(alone, correlation=Sweep.correlation))
        yield f"{kind}, equal weights", partial(rates, sweep=alone, measure=EQUAL_WEIGHTS)
        yield f"{kind}, no common seeds", partial(rates, sweep=replace(alone, paired=False))
    for correct in CORRECTIONS[1:]:
        yield f"normal, correction {correct}", partial(rates, sweep=sweep, correct=correct)


def _coverage(_: Sequence[int], trials: int, seed: int) -> Rows:
    rates = partial(interval_rates, trials=trials, seed=seed)
    for kind in (name for name, kind in KINDS.items() if not kind.is_judged):
        for baseline, alike in {"steady": False, "alike": True}.items():
            for design, paired in _DESIGNS.items():
                draw = losses(kind, alike=alike)
                yield (
                    f"{kind}, baseline {baseline}, {design}",
                    partial(rates, draw=draw, measure="loss", truth=0.0, paired=paired),
                )
    for solved in _SOLVED:
        for design, paired in _DESIGNS.items():
            yield (
                f"times, {_share(solved)} solved, baseline steady, {design}",
                partial(
                    rates,
                    draw=_times(solved),
                    measure="steps_to_solve",
                    truth=mean_time(solved) - _STEADY,
                    paired=paired,
                ),
            )
    for that, this in _FRACTIONS:
        for design, paired in _DESIGNS.items():
            draw = _outcomes(this, that, Sweep.correlation if paired else 0.0)
            yield (
                f"{_share(this)} solved against {_share(that)}, {design}",
                partial(rates, draw=draw, measure="solved", truth=this - that, paired=paired),
            )


def interval_rates(
    replicas: int, *, draw: Draw, measure: str, truth: float, paired: bool, trials: int, seed: int
) -> Cell:
    """Return how often intervals cover the true difference, all and those not called rough, and how many are rough."""
    comparisons = _independent(replicas, draw=draw, paired=paired, trials=trials, seed=seed)
    found = [effect.difference for each in comparisons if (effect := each.effect(measure)) and effect.difference]
    covers = [each.low <= truth <= each.high for each in found]
    fine = [covered for covered, each in zip(covers, found, strict=True) if not each.rough]
    return {
        "covered": Rate(sum(covers), trials),
        "covered_not_rough": Rate(sum(fine), len(fine)),
        "rough": Rate(trials - len(fine), trials),
    }


def _fraction_tests(_: Sequence[int], trials: int, seed: int) -> Rows:
    for that, this in _FRACTIONS:
        yield (
            f"{_share(this)} solved against {_share(that)}",
            partial(fraction_tests, this=this, that=that, trials=trials, seed=seed),
        )


def fraction_tests(replicas: int, *, this: float, that: float, trials: int, seed: int) -> Cell:
    """Return how often each test of fractions alone rejects, given the chance of a network to solve the task."""
    found: Cell = {}
    for name, paired, correlation in _TESTS:
        draw = _outcomes(this, that, correlation)
        comparisons = _independent(replicas, draw=draw, paired=paired, trials=trials, seed=seed)
        rejected = sum(each.main is not None and each.main.p <= LEVEL for each in comparisons)
        found[name] = Rate(rejected, trials)
    return found


def _independent(replicas: int, *, draw: Draw, paired: bool, trials: int, seed: int) -> list[Comparison]:
    """Return comparisons of two runs each, not corrected."""
    random = np.random.default_rng([seed, replicas])
    pairs: list[tuple[Summary, Summary]] = []
    for number in range(trials):
        this, that = draw(random, replicas)
        first_seed = 0 if paired else replicas
        pairs.append((made_up(f"run{number}", this, first_seed=first_seed), made_up(f"baseline{number}", that)))
    return _compared(pairs, correct="none")


def losses(kind: str, *, alike: bool) -> Draw:
    """Draw losses of a kind, and those of a baseline alike, or of one whose replicas all have the mean."""

    def draw(random: np.random.Generator, replicas: int) -> Drawn:
        this, that = KINDS[kind].scaled(random.standard_normal((2, replicas)))
        return {"loss": this}, {"loss": that if alike else np.zeros(replicas)}

    return draw


def _times(solved: float) -> Draw:
    """Draw times to solve, cut off at the budget, and those of a steady baseline."""

    def draw(random: np.random.Generator, replicas: int) -> Drawn:
        times = lognormal_times(random.standard_normal(replicas), solved)
        return {"times": times}, {"times": np.full(replicas, _STEADY)}

    return draw


def _outcomes(this: float, that: float, correlation: float) -> Draw:
    """Solve the task with these probabilities, at the last step or never."""

    def draw(random: np.random.Generator, replicas: int) -> Drawn:
        common, *own = random.standard_normal((3, replicas))
        latent = math.sqrt(correlation) * common + math.sqrt(1 - correlation) * np.stack(own)
        times = np.where(latent < ndtri([[this], [that]]), float(BUDGET), math.inf)
        return {"times": times[0]}, {"times": times[1]}

    return draw


def _share(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"
