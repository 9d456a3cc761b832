"""The text that names the worst step of a run, and the first thing of each replica that was not finite."""

from rnnstudy.runs.events import Events, Nonfinite
from rnnstudy.writers.through_time import worst_sub_run


def explosions_text(events: Events) -> str:
    """Return the text, in Markdown; it also tells where nothing exploded, so that every run has it."""
    return "\n\n".join([_worst(events), _nonfinite(events)])


def _worst(events: Events) -> str:
    worst = events.worst()
    if worst is None:
        return "No step that spiked is kept."
    spike = worst.spike
    return (
        f"The worst step kept is step **{spike.step}** of replica **{worst.replica}**: the norm of its gradient before "
        f"the mitigations is {spike.raw_norm:.3g}, its loss {spike.loss:.3g}. The sub-run `{worst_sub_run(worst)}` "
        "shows that gradient on its way back through time."
    )


def _nonfinite(events: Events) -> str:
    first = [(replica, each) for replica, each in enumerate(events.first_nonfinite) if each is not None]
    if not first:
        return "Every output, loss and gradient was finite."
    head = "| replica | step | not finite | parameters | layer | time step |\n|---|---|---|---|---|---|"
    rows = [f"| {replica} | {' | '.join(_cells(each))} |" for replica, each in first]
    return "\n".join(["The first thing of a replica that was not finite:\n", head, *rows])


def _cells(first: Nonfinite) -> list[str]:
    # An output or a loss that is not finite takes all gradients with it.
    parameters = ", ".join(f"`{name}`" for name in first.parameters) if first.kind == "gradient" else ""
    place = ["" if each is None else str(each) for each in (first.layer, first.time_step)]
    return [str(first.step), first.kind, parameters, *place]
