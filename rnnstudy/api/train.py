"""Training from Python: what the command line does."""

from typing import Any, overload

from rich.console import Console

from rnnstudy.api.read_runs import Runs, RunView
from rnnstudy.config.overrides import ask_for_several, overrides_of
from rnnstudy.runs.run import read_run
from rnnstudy.study.sweep.train import train as train_all


@overload
def train(override: str, /, *overrides: str, quiet: bool = False, **settings: Any) -> Runs: ...
@overload
def train(*, quiet: bool = False, **settings: Any) -> RunView: ...
def train(*overrides: str, quiet: bool = False, **settings: Any) -> Runs | RunView:
    """Train one configuration or a sweep, exactly as `rnnstudy train` does.

    A finished run is found and not repeated, an interrupted one resumes from its checkpoint, and several values of a
    key make a sweep. Interrupting the kernel saves a checkpoint.

    >>> import rnnstudy as rs
    >>> folder = getfixture("tmp_path")
    >>> task, model = rs.tasks.Adding(seq_len=5), rs.models.LSTM(hidden_size=4)
    >>> clip, tiny = rs.mitigations.ClipNorm(max_norm=1.0), {"num_steps": 3}
    >>> run = rs.train(task=task, model=model, mitigation=[clip], replicas=2, train=tiny, output_dir=folder, quiet=True)
    >>> run.outcome.status
    ('finished', 'finished')
    >>> runs = rs.train("model=gru,lstm", "task=adding", "train.num_steps=3", output_dir=folder, quiet=True)
    >>> [run.settings["model"] for run in runs]
    ['gru', 'lstm']

    Args:
        overrides: Overrides as on the command line, such as "task.lag=40,80".
        quiet: Whether to show no progress.
        settings: Further settings by key: a member (`task=rnnstudy.tasks.Adding(seq_len=20)`) or its name
            (`optimizer="sgd"`), a list of them for `init`, `mitigation` and `instrument`, a plain value (`replicas=8`),
            or a mapping of keys below (`train={"num_steps": 100}`); dotted keys are written
            `**{"train.num_steps": 100}`. Of repeated keys the last one counts, overrides after settings.

    Returns:
        The runs in order if there are overrides; the one run if there are settings only.

    Raises:
        ConfigError: The configuration of one of the runs is wrong; no run was started.
        UnfinishedError: Runs of a sweep failed, or other processes run them; all others are finished.
        Interrupted: The user stopped; checkpoints are saved.
        RnnstudyError: The run failed.
    """
    flags = ["-m"] if ask_for_several(overrides) else []
    # Plain lines: a notebook shows each print of rich's own notebook mode as a block of its own.
    console = Console(force_jupyter=False, quiet=quiet)
    last = {each.partition("=")[0]: each for each in [*overrides_of(settings), *overrides]}
    folders = train_all([*flags, *last.values()], console)
    runs = Runs([RunView(read_run(folder, label=folder.path.name)) for folder in folders])
    return runs if overrides else runs[0]
