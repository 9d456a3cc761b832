"""The gradient in words: the replicas in which it reaches the information, vanishes before it, or explodes."""

import math
from collections.abc import Sequence

from rnnstudy.core.text import join
from rnnstudy.report.analysis.gradient import Ratios, explosions, first_ratios, last_ratios
from rnnstudy.report.analysis.phrases import of_all, of_replicas, plural
from rnnstudy.report.analysis.summary import Summary, known, largest
from rnnstudy.report.tables.columns import show_number

_NOW = ("reaches", "vanishes before", "is not finite, or zero at lag 0 too, at")
_BEFORE = ("reached", "vanished before", "was not finite, or zero at lag 0 too, at")

_EVERY = "reaches {} in every replica"
_SOME = "reaches {} in some replicas"
_NONE = "vanishes before {} in every replica"
_UNDEFINED = "is not finite, or zero at lag 0 too, in replicas"
_VERDICTS = (_EVERY, _SOME, _NONE, _UNDEFINED)


def last_probe(summary: Summary) -> str:
    """Return, e.g., "reaches lag 19 in 3 of 8 replicas (10^-1.2 of that at lag 0)"; empty without a last probe."""
    return _divided(summary, last_ratios(summary), _NOW)


def gradient_clauses(summary: Summary) -> list[str]:
    """Return clauses on a run's gradient: at the last probe, before training where that differs, and explosions."""
    first, last = first_ratios(summary), last_ratios(summary)
    star = "*" if summary.is_edited else ""
    found: list[str] = []
    if any(last.counts):
        found.append(f"the gradient{star} {_divided(summary, last, _NOW)}")
    elif not summary.facts.has_answer_gradient:
        found.append("no verdict on the gradient: the loss is at many time steps")
    elif not any(first.counts):
        found.append("no gradient logged")
    if any(first.counts) and first.counts != last.counts:
        found.append(f"before training it{star} {_divided(summary, first, _BEFORE)}")
    if grown := _exploded([summary]):
        found.append(f"it{star} {grown}")
    return found + _spiked([summary])


def tally_gradients(summaries: Sequence[Summary]) -> list[str]:
    """Return sentences that count configurations by the verdicts on their replicas, and explosions and spikes."""
    logged = [summary for summary in summaries if any(first_ratios(summary).counts)]
    true = [summary for summary in logged if not summary.is_edited]
    found = [ratios for summary in true if any((ratios := last_ratios(summary)).counts)]
    sentences = [_tally(found, edited=len(logged) - len(true), lost=len(true) - len(found))] if len(found) > 1 else []
    grown = _exploded([summary for summary in summaries if not summary.is_edited])
    clauses = [*([f"The gradient {grown}"] if grown else []), *_spiked(summaries)]
    return [*sentences, f"{'; '.join(clauses)}."] if clauses else sentences


def _divided(summary: Summary, ratios: Ratios, verbs: Sequence[str]) -> str:
    """Return the replicas by verdict: "reaches lag 9 in 4 of 8 replicas (...) and vanishes before it in 4 of 8"."""
    parts: list[str] = []
    for verb, found in zip(verbs, ratios, strict=True):
        if found:
            where = f" in {_of(len(found), summary.replicas, first=not parts)}" if summary.replicas > 1 else ""
            place = "it" if parts else f"lag {summary.lag}"
            parts.append(f"{verb} {place}{where}{_range(found, first=not parts)}")
    return join(parts)


def _of(count: int, total: int, *, first: bool) -> str:
    return of_replicas(count, total) if first else f"{count} of {total}"


def _range(ratios: Sequence[float], *, first: bool) -> str:
    """Return the ends of log10 ratios in brackets; empty where none is a number or an exact zero."""
    numbers = [ratio for ratio in ratios if ratio < math.inf]
    if not numbers:
        return ""
    ends = [f"10^{end:.1f}" if math.isfinite(end) else "exactly zero" for end in (min(numbers), max(numbers))]
    unit = " of that at lag 0" if first and ends[1] != "exactly zero" else ""
    return f" ({' to '.join(dict.fromkeys(ends))}{unit})"


def _tally(found: Sequence[Ratios], *, edited: int, lost: int) -> str:
    """Count configurations by the verdicts on their replicas."""
    kinds: dict[str, list[Ratios]] = {verdict: [] for verdict in _VERDICTS}
    for ratios in found:
        kinds[_verdict(ratios)].append(ratios)
    parts: list[str] = []
    for verdict, alike in kinds.items():
        if alike:
            numbers = [ratio for ratios in alike for ratio in (*ratios.reaches, *ratios.vanishes)]
            span = "" if verdict == _SOME else _range(numbers, first=not parts)
            of = len(alike) if parts else f"{of_all(len(alike), len(found))} configurations"
            parts.append(f"{verdict.format('it' if parts else 'the information')} of {of}{span}")
    left = [f"{edited} whose gradients are edited"] if edited else []
    left += [f"{lost} whose replicas all diverged"] if lost else []
    aside = f", not counting {join(left)}" if left else ""
    return f"After training, the gradient {join(parts)}{aside}."


def _verdict(ratios: Ratios) -> str:
    if ratios.reaches:
        return _SOME if ratios.vanishes or ratios.undefined else _EVERY
    return _UNDEFINED if ratios.undefined else _NONE


def _exploded(summaries: Sequence[Summary]) -> str:
    """Return, e.g., "exploded in 3 of 8 replicas, up to 10^5.2 times that at lag 0"; empty where it did in none."""
    found = [(growth, summary.name) for summary in summaries for growth in explosions(summary)]
    if not found:
        return ""
    total = sum(len(known(summary.growth)) for summary in summaries)
    where = f" in {of_replicas(len(found), total)}" if total > 1 else ""
    most, name = max(found)
    size = f"10^{most:.1f} times that at lag 0" if math.isfinite(most) else "infinity"
    return f"exploded{where}, up to {size}{_in(name, summaries)}"


def _spiked(summaries: Sequence[Summary]) -> list[str]:
    """Return a clause on the steps that spiked, of all replicas; none where none did."""
    spikes = sum(sum(known(summary.spikes)) for summary in summaries)
    if not spikes:
        return []
    norm, name = max((largest(summary.largest_norm) or 0.0, summary.name) for summary in summaries)
    size = f", up to a norm of {show_number(norm)}{_in(name, summaries)}" if norm else ""
    return [f"{spikes:.0f} {plural('step', int(spikes))} spiked{size}"]


def _in(name: str, summaries: Sequence[Summary]) -> str:
    return f" in {name}" if len(summaries) > 1 else ""
