"""Descriptions of all tags in TensorBoard: what is shown, over which replicas, and its unit."""

from tensorboard.plugins.custom_scalar.metadata import CONFIG_SUMMARY_TAG
from tensorboard.plugins.hparams import metadata as hparams

from rnnstudy.runs import tags
from rnnstudy.writers.overview import RunFacts, overview_figures

FINAL_STEPS_TO_SOLVE = (
    "Optimizer steps until a replica was first found to have solved the task: the median over the replicas, of which "
    "those that never did count as infinite. No point if that is infinite. Unit: optimizer steps."
)

_FIXED = {
    tags.FINAL_STEPS_TO_SOLVE: FINAL_STEPS_TO_SOLVE,
    tags.AT_A_GLANCE.format(figure="explosions/text_summary"): "The worst step kept, and the first thing of each "
    "replica that was not finite. Unit: none, a text.",
    "config/text_summary": "Configuration of the run, as in its config.yaml. Unit: none, a text.",
    "left_out/text_summary": "Tags that are in the run folder alone. Unit: none, a text.",
    CONFIG_SUMMARY_TAG: "Layout of the page of custom scalars. Unit: none.",
    hparams.EXPERIMENT_TAG: "Columns of the page of hyperparameters. Unit: none.",
    hparams.SESSION_START_INFO_TAG: "Hyperparameters of the run. Unit: that of each, as the configuration says.",
    hparams.SESSION_END_INFO_TAG: "That the run has ended. Unit: none.",
}

_OVER_REPLICAS = {
    "simple_value": "Median over the replicas; one that solved the task keeps its last figure, one that diverged drops "
    "out.",
    "tensor": "The replicas together; one that solved the task keeps its last counts, one that diverged drops out.",
    "one replica": "Of the replica whose step it is.",
}


def description(facts: RunFacts, tag: str, kind: str) -> str:
    """Return the description of a tag in Markdown.

    Args:
        facts: Facts of the run.
        tag: The tag in TensorBoard.
        kind: Field of its values: "simple_value" (a scalar), "image" (a heatmap) or "tensor" (a histogram or a text);
            "one replica" for a histogram of one alone.

    Returns:
        Sentences, of which the last gives the unit.
    """
    if tag in _FIXED:
        return _FIXED[tag]
    for figure in overview_figures(facts):
        if tag == figure.tag:
            return figure.description
        for band, which in zip(figure.bands, ("Smallest", "Largest"), strict=True):
            if tag == band:
                return f"{which} finite figure over the replicas: {figure.meaning} Unit: {figure.unit}."
    norms = tags.TAGS[tags.HIDDEN_GRAD_NORM]
    if lag := tags.fields(tags.GRADIENT_BY_LAG, tag):
        back = f"{int(lag['lag'])} time steps before the last"
        return f"log10 of ||dL/dh_t||, {back}, median over the replicas. Unit: powers of ten of the {norms.unit}."
    if kind == "image":
        return f"log10, as colour, of {norms.text} Median over the replicas. Unit: powers of ten of the {norms.unit}."
    found = tags.meaning(tag, facts.meanings) or tags.meaning(tag)
    text, unit = (found.text, found.unit) if found else (f"Logged by {tags.group(tag)}.", "see there")
    return f"{text} {_OVER_REPLICAS[kind]} Unit: {unit}."
