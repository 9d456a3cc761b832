"""Every log tag that more than one module uses: its meaning, its unit and its readers.

A tag names a series of the log: a scalar per replica in metrics.jsonl, a value per time step in curves.jsonl, counts in
histograms.jsonl. A tag with fields, such as `{layer}`, names a family. A tag that only one instrument or mitigation
uses begins with that member's name and is spelled in its file.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Meaning:
    """Meaning of a tag.

    Args:
        text: What is logged.
        unit: Its unit; "1" for a fraction or another pure number.
        read_by: Places that read it: figures of the report, charts of TensorBoard ("at_a_glance/..."), columns.
    """

    text: str
    unit: str
    read_by: tuple[str, ...] = ()


TRAIN_LOSS = "train/loss"
SKIPPED = "train/skipped"
LEARNING_RATE = "train/learning_rate"
LARGEST_NORM = "train/largest_raw_norm"
LARGEST_LOSS = "train/largest_loss"
SPIKES = "train/spikes"
CLIPPED_STEPS = "train/clipped_steps"
DIVERGED = "train/diverged"
SOLVED = "train/solved"
EVAL = "eval/{metric}"
JUDGED = "judged/{metric}"
EVAL_AT = "eval_at_{seq_len}/{metric}"
LOSS, ACCURACY, ANSWER_LOSS = (EVAL.format(metric=metric) for metric in ("loss", "accuracy", "answer_loss"))
ACTIVE = "{mitigation}/active"
CLIP_COEFFICIENT = "{mitigation}/coefficient"
HIDDEN_GRAD_NORM = "hidden_grad_norm/{state}/layer_{layer}/{part}"
HIDDEN_GRAD_HISTOGRAM = "hidden_grad_histogram/{state}/layer_{layer}/{what}"
ALL_STEPS = "hidden_grad_histogram/{state}/layer_{layer}/all_steps"
AT_LAG = "hidden_grad_histogram/{state}/layer_{layer}/lag_{lag}"
PART_HISTOGRAM = "hidden_grad_histogram/{state}/layer_{layer}/{part}"
KIND_COUNT = "hidden_grad_histogram/{state}/layer_{layer}/{kind}_count"
RAW_NORM = "grad_norm/raw"
CLIPPED_NORM = "grad_norm/clipped"
THROUGH_TIME = "hidden_grad_through_time/{state}/layer_{layer}/{part}"
HORIZON = "horizon/{state}/layer_{layer}/lag"
DECAY = "horizon/{state}/layer_{layer}/decay"
DECAY_ERROR = "horizon/{state}/layer_{layer}/decay_error"
GAIN_BOUND = "gain_bound/layer_{layer}"
EVENT_NORM = "{state}/layer_{layer}/{part}"  # in events.json

# Tags of TensorBoard alone, computed from those of the log.
AT_A_GLANCE = "at_a_glance/{figure}"
SPREAD = "spread/{figure}/{end}"
GRADIENT_BY_LAG = "gradient_by_lag/lag_{lag}"
FINAL_STEPS_TO_SOLVE = "final/steps_to_solve"

_OF_LOSS = "nats for a cross entropy, the target's unit squared for a squared error"
_OF_METRIC = f"{_OF_LOSS}; 1 for an accuracy"

TAGS: Mapping[str, Meaning] = {
    TRAIN_LOSS: Meaning("Loss on the training batches, mean since the last entry.", _OF_LOSS),
    SKIPPED: Meaning("Steps whose update was skipped, since the start.", "steps", read_by=("column: skipped",)),
    LEARNING_RATE: Meaning("Learning rate of the next update.", "1"),
    LARGEST_NORM: Meaning(
        "Largest finite norm of the gradient of all parameters before the mitigations, over every step since the last "
        "entry.",
        "loss per unit of the weights",
        read_by=("at_a_glance/log10_largest_norm", "column: largest norm", "paired_differences"),
    ),
    LARGEST_LOSS: Meaning("Largest finite loss on a training batch, over every step since the last entry.", _OF_LOSS),
    SPIKES: Meaning(
        "Steps since the last entry whose gradient norm was not finite, or far above the replica's recent ones.",
        "steps",
        read_by=("at_a_glance/spikes", "column: spikes", "paired_differences"),
    ),
    CLIPPED_STEPS: Meaning("Steps since the last entry at which a mitigation clipped.", "steps"),
    DIVERGED: Meaning(
        "Whether the replica was given up, because too many gradients in a row were not finite.",
        "0 or 1",
        read_by=("at_a_glance/diverged_fraction",),
    ),
    SOLVED: Meaning(
        "Whether the replica has solved the task, at this evaluation or before.",
        "0 or 1",
        read_by=("at_a_glance/solved_fraction", "solved_over_training"),
    ),
    EVAL: Meaning(
        "A metric of the task on the fixed evaluation set.",
        _OF_METRIC,
        read_by=("at_a_glance/loss", "at_a_glance/accuracy", "loss", "accuracy", "paired_differences"),
    ),
    JUDGED: Meaning(
        "The metric by which a replica counts as solved, on fresh sequences; only with eval.solved_batch_size.",
        "the metric's",
    ),
    EVAL_AT: Meaning(
        "A metric of the task on a fixed evaluation set of sequences of another length, in time steps.",
        _OF_METRIC,
        read_by=("columns: at other lengths",),
    ),
    ACTIVE: Meaning(
        "Fraction of the steps since the last entry at which the mitigation acted.", "1", read_by=("column: active",)
    ),
    CLIP_COEFFICIENT: Meaning(
        "Factor that the mitigation scales the gradient by, mean since the last entry; 1 is untouched.",
        "1",
        read_by=("at_a_glance/clip_coefficient",),
    ),
    HIDDEN_GRAD_NORM: Meaning(
        "||dL/ds_t|| of a sequence, mean over the batch, for every time step; part: total, direct, carried, or answer: "
        "the total for the answer's loss alone, where the loss has other outputs too.",
        "loss per unit of the state",
        read_by=("at_a_glance/log10_gradient_at_information", "gradient_by_lag", "heatmaps"),
    ),
    ALL_STEPS: Meaning("Histogram of log10 |dL/ds_t| over all time steps.", "count"),
    AT_LAG: Meaning("Histogram of log10 |dL/ds_t| at one lag, in time steps from the last.", "count"),
    KIND_COUNT: Meaning(
        "Entries of dL/ds_t of the kind that the tag names: exactly zero, subnormal, NaN or infinite.", "count"
    ),
    PART_HISTOGRAM: Meaning("Histogram of log10 of the direct or the carried part of |dL/ds_t|.", "count"),
    THROUGH_TIME: Meaning("Histogram of log10 |dL/ds_t| of every time step; steps are time steps here.", "count"),
    RAW_NORM: Meaning(
        "Norm of the gradient of all parameters before the mitigations.",
        "loss per unit of the weights",
        read_by=("weight_gradient",),
    ),
    CLIPPED_NORM: Meaning(
        "Norm of the gradient of all parameters after the mitigations.",
        "loss per unit of the weights",
        read_by=("weight_gradient",),
    ),
    HORIZON: Meaning(
        "Largest lag at which ||dL/ds_t||, of the answer's loss alone, is within a factor of that at lag 0; at most "
        "the length of a sequence less 1, and NaN where a norm is Inf or NaN.",
        "time steps",
        read_by=("at_a_glance/horizon", "paired_differences"),
    ),
    DECAY: Meaning(
        "Slope of log10 ||dL/ds_t||, of the answer's loss alone, against the lag.",
        "powers of ten per time step",
        read_by=("column: decay",),
    ),
    DECAY_ERROR: Meaning(
        "Standard error of the slope of log10 ||dL/ds_t|| against the lag.", "powers of ten per time step"
    ),
    GAIN_BOUND: Meaning(
        "gamma ||W_hh||: what the gradient's norm grows by at most, per time step back.",
        "1",
        read_by=("gradient_by_lag",),
    ),
    EVENT_NORM: Meaning("||dL/ds_t|| at every time step of a step that spiked.", "loss per unit of the state"),
}
"""Tags of this module; of families that overlap, the narrower comes first."""

_NUMBERED = {"layer", "lag", "seq_len"}
_NUMBER, _WORD = r"\d+", "[^/]+"


@cache
def _pattern(family: str) -> re.Pattern[str]:
    parts = re.split(r"{(\w+)}", family)
    named = [
        f"(?P<{part}>{_NUMBER if part in _NUMBERED else _WORD})" if place % 2 else re.escape(part)
        for place, part in enumerate(parts)
    ]
    return re.compile("".join(named))


def fields(family: str, tag: str) -> dict[str, str] | None:
    """Return the fields of a tag by name; None if it is not in the family."""
    match = _pattern(family).fullmatch(tag)
    return match.groupdict() if match else None


def meaning(tag: str, families: Mapping[str, Meaning] = TAGS) -> Meaning | None:
    """Return the meaning of a tag, that of the first family it is in; None without one."""
    return next((each for family, each in families.items() if fields(family, tag) is not None), None)


def group(tag: str) -> str:
    """Return the part before the first slash: for a measurement, the name of its instrument."""
    return tag.partition("/")[0]


def top(family: str, tags: Iterable[str], **wanted: str) -> str | None:
    """Return the tag of the highest `{layer}` in a family whose other fields are as `wanted`; None if none matches."""
    layers = {int(own["layer"]): tag for tag in tags if (own := fields(family, tag)) and wanted.items() <= own.items()}
    return layers[max(layers)] if layers else None
