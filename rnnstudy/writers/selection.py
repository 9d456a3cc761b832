"""The few tags of a run that TensorBoard shows, the essential ones first."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from rnnstudy.core.lags import thinned
from rnnstudy.runs import tags
from rnnstudy.writers.overview import NUM_LAGS, RunFacts, overview_figures

MAX_TAGS = 60
"""Maximum number of tags of one run, of all kinds. With many more, TensorBoard is slow, and nothing stands out."""

OF_THE_RUN = 7
"""Tags that every run has: the texts `explosions`, `config` and `left_out`, the layout, three for hyperparameters."""

_LAST_GROUPS = {tags.group(tags.EVAL), tags.group(tags.SOLVED)}

_OF_TRAINING, _OF_MITIGATIONS = 2, 2
"""Places for figures of the training, and of its mitigations if there are any: they appear after the first steps."""

_LAGS = 6  # lags at which the histograms of the output are shown
_OTHER_LAGS = 2  # likewise of a state that is not the output
_FINAL = 1  # figures available after the last step
_NORMS = (tags.RAW_NORM, tags.CLIPPED_NORM)
_KINDS = 4  # counts of special entries: exactly zero, subnormal, NaN, Inf


class Selection:
    """Decides by tag, and keeps to at most `MAX_TAGS`.

    Essential, and few in every run:

    - the figures at a glance, their spread and the gradient by lag, computed from others, which are not shown again;
    - histograms of the top layer's output: all time steps, direct, carried, up to 6 lags; its counts of zero,
      subnormal, NaN and Inf; of its other states: all time steps, up to 2 lags; of the lowest layer's output: all
      time steps;
    - heatmaps of the gradient of every state of the top and the lowest layer: total, or of the answer's loss alone;
    - the norm of the parameters' gradient before and after the mitigations.

    Of the training: `train/loss`, `train/skipped`, and up to two figures of mitigations, `active` ones first.

    All other places go to the tags measured first. Among those of one step every group (the part before the first
    slash) gets one tag per round: evaluations at other lengths first, `eval` and `train` last; within a group the top
    layer and the output come first. The other histograms, counts and heatmaps of the gradient are never shown.

    It decides only by the tags and the steps they come at, so a resumed run shows the same.

    Args:
        facts: Facts of the run.
    """

    def __init__(self, facts: RunFacts) -> None:
        """Reserve the places of the essential tags."""
        self._facts = facts
        figures = overview_figures(facts)
        self._summarised = {figure.source for figure in figures} - {facts.top_norms}
        glance = len(figures) + 2 * sum(figure.has_bands for figure in figures) + NUM_LAGS
        others = facts.states - 1
        histograms = 3 + _LAGS + others * (1 + _OTHER_LAGS) + (facts.layers > 1)
        heatmaps = facts.states * min(facts.layers, 2)
        reserved = OF_THE_RUN + _FINAL + len(_NORMS) + glance + histograms + _KINDS + heatmaps
        training = _OF_TRAINING + (_OF_MITIGATIONS if facts.mitigations else 0)
        self._places = {
            "training": training,
            "other": max(0, MAX_TAGS - reserved - training),
            "lag": _LAGS,
            "other lag": _OTHER_LAGS * others,
        }
        self._seen: set[str] = set()
        self._shown: set[str] = set()
        self.left_out: list[str] = []

    def shows(self, tag: str) -> bool:
        """Return whether a tag that has been offered is shown."""
        return tag in self._shown

    def offer(self, offered: Iterable[str]) -> bool:
        """Take the tags measured at one step; return whether something new is left out."""
        new = set(offered) - self._seen
        if not new:
            return False
        self._seen |= new
        by_kind: dict[str, list[str]] = defaultdict(list)
        for tag in sorted(new):
            by_kind[self._kind(tag)].append(tag)
        self._shown.update(by_kind["essential"])
        chosen = {kind: thinned(by_kind[kind], most) for kind, most in (("lag", _LAGS), ("other lag", _OTHER_LAGS))}
        chosen["training"] = sorted(by_kind["training"], key=_training_rank)
        chosen["other"] = self._in_turns(by_kind["other"])
        for kind, candidates in chosen.items():
            places = self._places[kind]
            self._shown.update(candidates[:places])
            self._places[kind] -= len(candidates[:places])
        missing = new - self._shown - set(by_kind["summarised"])
        self.left_out = sorted({*self.left_out, *missing})
        return bool(missing)

    def _kind(self, tag: str) -> str:
        top = self._facts.top
        if tag in self._summarised:
            return "summarised"
        if tag in _NORMS:
            return "essential"
        if norm := tags.fields(tags.HIDDEN_GRAD_NORM, tag):
            return "essential" if norm["part"] == self._facts.norms and int(norm["layer"]) in {0, top} else "never"
        if histogram := tags.fields(tags.HIDDEN_GRAD_HISTOGRAM, tag):
            layer, of_output = int(histogram["layer"]), histogram["state"] == "h"
            if tags.fields(tags.AT_LAG, tag):
                return "never" if layer != top else "lag" if of_output else "other lag"
            whole = tags.fields(tags.ALL_STEPS, tag) and (layer == top or (of_output and layer == 0))
            return "essential" if whole or (of_output and layer == top) else "never"
        if tag in {tags.TRAIN_LOSS, tags.SKIPPED} or tags.group(tag) in self._facts.mitigations:
            return "training"
        return "other"

    def _in_turns(self, candidates: Sequence[str]) -> list[str]:
        groups: dict[str, list[str]] = defaultdict(list)
        top = f"/layer_{self._facts.top}"
        for tag in sorted(candidates, key=lambda tag: (top not in tag, "/h/" not in tag, tag)):
            groups[tags.group(tag)].append(tag)
        turns = [
            (turn, 0 if group.startswith("eval_at_") else 2 if group in _LAST_GROUPS else 1, group, tag)
            for group, members in groups.items()
            for turn, tag in enumerate(members)
        ]
        return [tag for *_, tag in sorted(turns)]

    def as_text(self) -> str:
        """Name the tags left out, in Markdown."""
        groups: dict[str, list[str]] = defaultdict(list)
        for tag in self.left_out:
            group, _, rest = tag.partition("/")
            groups[group].append(rest or group)
        lines = [
            f"TensorBoard shows at most {MAX_TAGS} tags of a run. These are in the run folder alone, in "
            "metrics.jsonl, curves.jsonl and histograms.jsonl:",
            "",
        ]
        lines += [f"- **{group}**: {', '.join(f'`{rest}`' for rest in members)}" for group, members in groups.items()]
        return "\n".join(lines)


def _training_rank(tag: str) -> tuple[bool, bool, str]:
    return tags.group(tag) != tags.group(tags.TRAIN_LOSS), not tag.endswith("/active"), tag
