"""The few tags of a run that TensorBoard shows, the essential ones first."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping

from rnnstudy.core.lags import thinned
from rnnstudy.runs import tags
from rnnstudy.writers.overview import RunFacts, lag_tags, overview_figures

MAX_TAGS = 60
"""Maximum number of tags of one run, of all kinds. With many more, TensorBoard is slow, and nothing stands out."""

OF_THE_RUN = 7
"""Tags that every run has: the texts `explosions`, `config` and `left_out`, the layout, three for hyperparameters."""

_FINAL = 1  # figures available after the last step
_OF_MITIGATIONS = 2  # places for figures of mitigations alone
_CLIPPING = 3  # tags of the clip coefficient: the figure at a glance and its spread

_LAGS = 6  # lags at which the histograms of the output come first
_OTHER_LAGS = 2  # likewise of a state that is not the output
_LAST = 99  # order behind all others of a group

_CORE, _FIRST_OF_EACH, _ASKED, _ESSENTIAL, _OTHER, _REST = range(6)

_LAST_GROUPS = {tags.group(tags.EVAL), tags.group(tags.SOLVED)}


class Selection:
    """Decides by tag, and keeps to at most `MAX_TAGS`.

    The figures at a glance, their spread and the gradient by lag have places of their own. They are computed from
    others, which are not shown again. Figures of mitigations have two more places, `active` ones first, whether there
    are any or not: what a run shows of all else does not depend on its mitigations. The other places are given, until
    none is left, to:

    1. the training loss and the skipped steps, the norm of the parameters' gradient before and after the mitigations,
       the histogram over all time steps, the exact zeros and the heatmap of the top layer's output;
    2. one tag of every other instrument;
    3. instruments that are not on by default, and evaluations at other lengths;
    4. histograms and counts of the top layer's output (direct, carried, 6 lags, special values), of its other states
       (all time steps, 2 lags) and of the lowest layer's output, and the heatmaps of both layers;
    5. other figures of the instruments that are on by default, of `eval` and of `train`;
    6. all other histograms, counts and heatmaps, and further figures of mitigations.

    Within each, the groups (the part before the first slash) take turns; within a group the top layer and the output
    come first. What is measured first is chosen first.

    It decides only by the tags and the steps they come at, so a resumed run shows the same.

    Args:
        facts: Facts of the run.
    """

    def __init__(self, facts: RunFacts) -> None:
        """Reserve the places of the figures at a glance, and of mitigations."""
        self._facts = facts
        figures = overview_figures(facts)
        self._summarised = {figure.source for figure in figures} - {facts.top_norms}
        glance = [1 + 2 * figure.has_bands for figure in figures if figure.name != "clip_coefficient"]
        lags = len(lag_tags(facts.seq_len)) if facts.measures_norms else 0
        self._of_mitigations = _OF_MITIGATIONS
        self._places = MAX_TAGS - OF_THE_RUN - _FINAL - sum(glance) - _CLIPPING - lags - _OF_MITIGATIONS
        self._core = {tags.TRAIN_LOSS, tags.SKIPPED, tags.RAW_NORM, tags.CLIPPED_NORM, facts.top_norms}
        output = {"state": "h", "layer": facts.top}
        self._core |= {tags.ALL_STEPS.format(**output), tags.KIND_COUNT.format(**output, kind="zero")}
        self._seen: set[str] = set()
        self._shown: set[str] = set()
        self.left_out: list[str] = []

    def shows(self, tag: str) -> bool:
        """Return whether a tag that has been offered is shown."""
        return tag in self._shown

    def offer(self, offered: Iterable[str]) -> bool:
        """Take the tags measured at one step; return whether something new is left out."""
        new = set(offered) - self._seen - self._summarised
        if not new:
            return False
        self._seen |= new
        of_mitigations = {tag for tag in new if tags.group(tag) in self._facts.mitigations}
        acting = sorted(of_mitigations, key=lambda tag: (not tag.endswith("/active"), tag))
        own, further = acting[: self._of_mitigations], acting[self._of_mitigations :]
        chosen = [*self._in_order(new - of_mitigations), *further][: self._places]
        self._of_mitigations -= len(own)
        self._places -= len(chosen)
        self._shown.update(own, chosen)
        missing = new - self._shown
        self.left_out = sorted({*self.left_out, *missing})
        return bool(missing)

    def _in_order(self, candidates: Collection[str]) -> list[str]:
        """Return tags in the order in which they get places."""
        lags = self._lags(candidates)
        top = f"/layer_{self._facts.top}"
        ranks = {tag: self._rank(tag, lags) for tag in candidates}
        turns: Counter[tuple[int, str]] = Counter()
        ranked: list[tuple[int, int, bool, str, str]] = []
        for tag in sorted(candidates, key=lambda tag: (ranks[tag], top not in tag, "/h/" not in tag, tag)):
            (rank, _), group = ranks[tag], tags.group(tag)
            is_last = group in _LAST_GROUPS
            if rank in {_ASKED, _OTHER} and not turns[rank, group] and not is_last:
                ranked.append((_FIRST_OF_EACH, rank, is_last, group, tag))
            else:
                ranked.append((rank, turns[rank, group], is_last, group, tag))
            turns[rank, group] += 1
        return [tag for *_, tag in sorted(ranked)]

    def _rank(self, tag: str, lags: Mapping[str, int]) -> tuple[int, int]:
        """Return the class of a tag, as listed above, and its order among the tags of its group there."""
        group, top = tags.group(tag), self._facts.top
        if tag in self._core:
            return _CORE, 0
        if group in self._facts.asked or tags.fields(tags.EVAL_AT, tag):
            return _ASKED, 0
        if norm := tags.fields(tags.HIDDEN_GRAD_NORM, tag):
            return _ESSENTIAL if int(norm["layer"]) in {0, top} else _REST, int(int(norm["layer"]) != top)
        histogram = tags.fields(tags.HIDDEN_GRAD_HISTOGRAM, tag)
        if histogram is None:
            return _OTHER, 0
        of_top, of_output = int(histogram["layer"]) == top, histogram["state"] == "h"
        if tag in lags:
            return _ESSENTIAL, 2 + lags[tag]
        if tags.fields(tags.ALL_STEPS, tag):
            of_lowest = of_output and int(histogram["layer"]) == 0
            return (_ESSENTIAL, 1 if of_top else _LAST) if of_top or of_lowest else (_REST, 0)
        if tags.fields(tags.AT_LAG, tag) or not (of_top and of_output):
            return _REST, 0
        return _ESSENTIAL, 2 + _LAGS if tags.fields(tags.KIND_COUNT, tag) else 0

    def _lags(self, candidates: Iterable[str]) -> dict[str, int]:
        """Return the order of the histograms at lags that come first: both ends, then those between."""
        by_state: dict[str, list[str]] = defaultdict(list)
        for tag in sorted(candidates):
            if (lag := tags.fields(tags.AT_LAG, tag)) and int(lag["layer"]) == self._facts.top:
                by_state[lag["state"]].append(tag)
        order: dict[str, int] = {}
        for state, found in by_state.items():
            first, most = (0, _LAGS) if state == "h" else (_LAGS + 1, _OTHER_LAGS)
            chosen = thinned(found, most)
            order |= {tag: first + place for place, tag in enumerate([*chosen[:1], *chosen[:0:-1]])}
        return order

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
