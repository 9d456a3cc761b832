"""`rnnstudy theory`: every section for a subject, in the terminal and as a page."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from rnnstudy.core.errors import ConfigError, require_at_least, require_finite
from rnnstudy.core.numerics import Numerics
from rnnstudy.gradients.trajectories import Drive
from rnnstudy.study.load import load_run
from rnnstudy.theory import activations, conditions, growth, left_over, linear, sum_over_time
from rnnstudy.theory.page import write_page
from rnnstudy.theory.section import Section, Table
from rnnstudy.theory.subject import Subject, random_subject, read_matrix, run_subject

HIDDEN_SIZE, SEQ_LEN = 16, 20
"""Of the random networks, unless said otherwise."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for.

    Args:
        run: Folder of a run whose network is to be looked at; None for random networks.
        step: Which of its checkpoints; None for the last.
        replica: Which of its replicas.
        drive: Whether the task's inputs drive it, or nothing.
        matrix: File with W_hh for random vanilla networks.
        hidden_size: Units of random networks; None for 16.
        seq_len: Time steps; None for 20, or the run's own.
        radius: Spectral radius of random recurrent matrices; None leaves torch's initialisation.
        seed: Of random networks.
        point: Where the tangent touches the activations.
        out: Folder to write to; None for one below outputs/theory.
    """

    run: Path | None = None
    step: int | None = None
    replica: int | None = None
    drive: Drive | None = None
    matrix: Path | None = None
    hidden_size: int | None = None
    seq_len: int | None = None
    radius: float | None = None
    seed: int | None = None
    point: float = 1.0
    out: Path | None = None

    def __post_init__(self) -> None:
        require_finite("point", self.point)
        if self.seq_len is not None:
            require_at_least("seq_len", self.seq_len, 1)
        of_runs = {"step": self.step, "replica": self.replica, "drive": self.drive}
        of_random = {"matrix": self.matrix, "hidden_size": self.hidden_size, "radius": self.radius, "seed": self.seed}
        odd, needed = (of_runs, "goes with --run only") if self.run is None else (of_random, "does not go with --run")
        _refuse(odd, needed)
        if self.matrix is not None:
            _refuse({"hidden_size": self.hidden_size, "radius": self.radius}, "does not go with --matrix")


def _refuse(options: dict[str, object], why: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise ConfigError(f"--{name.replace('_', '-')} {why}; leave it out.")


def theory(request: Request, console: Console) -> Path:
    """Print every section and write the page.

    Args:
        request: What is asked for.
        console: Where to print.

    Returns:
        The page.

    Raises:
        RnnstudyError: Something is wrong with what was asked for, or the page cannot be written.
    """
    with Numerics(flush_subnormals=False).applied():
        subject, folder = _subject(request)
        sections = [
            activations.section(subject, request.point),
            conditions.section(subject),
            left_over.section(subject),
            linear.section(),
            sum_over_time.section(subject),
            growth.section(subject),
        ]
    console.print(subject.title, style="bold", highlight=False, markup=False)
    for number, section in enumerate(sections, start=1):
        _print(section, number, console)
    page = write_page(request.out or folder, subject.title, sections)
    console.print(f"\nPage with figures: {page}", highlight=False, markup=False, soft_wrap=True)
    return page


def _subject(request: Request) -> tuple[Subject, Path]:
    """What is looked at, and the folder for the page unless another is given."""
    below = Path("outputs/theory")
    if request.run is not None:
        loaded = load_run(request.run, request.step)
        subject = run_subject(
            loaded, replica=request.replica or 0, seq_len=request.seq_len, drive=request.drive or "task"
        )
        return subject, below / f"{loaded.folder.path.resolve().name}_step_{loaded.step}"
    subject = random_subject(
        hidden_size=HIDDEN_SIZE if request.hidden_size is None else request.hidden_size,
        seq_len=SEQ_LEN if request.seq_len is None else request.seq_len,
        seed=request.seed or 0,
        radius=request.radius,
        matrix=None if request.matrix is None else read_matrix(request.matrix),
    )
    return subject, below / ("random" if request.matrix is None else request.matrix.stem)


def _print(section: Section, number: int, console: Console) -> None:
    console.print(f"\n{number}. {section.title}", style="bold", highlight=False, markup=False)
    for paragraph in section.text:
        console.print(paragraph, highlight=False, markup=False)
    for table in section.tables:
        console.print(_grid(table))


def _grid(table: Table) -> Grid:
    title, caption = Text(table.title), Text(table.caption) if table.caption else None
    grid = Grid(title=title, caption=caption, title_justify="left", caption_justify="left")
    for index, name in enumerate(table.header):
        grid.add_column(Text(name), justify="right" if index else "left", overflow="fold")
    for row in table.rows:
        grid.add_row(*map(Text, row))
    return grid
