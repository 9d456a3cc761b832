"""`rnnstudy theory`: every section for a subject, in the terminal and as a page."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from rnnstudy.core.errors import ConfigError, require_between, require_finite
from rnnstudy.core.numerics import Numerics
from rnnstudy.core.text import printable
from rnnstudy.gradients.trajectories import Drive
from rnnstudy.study.run.load import load_run
from rnnstudy.theory.measures.subject import Subject, random_subject, read_matrix, run_subject
from rnnstudy.theory.page import make_folder, write_page
from rnnstudy.theory.section import Section, Table
from rnnstudy.theory.sections import activations, conditions, contributions, growth, powers, sum_over_time

HIDDEN_SIZE, SEQ_LEN = 16, 20
"""Of the random networks, unless said otherwise."""

MOST_UNITS, MOST_STEPS = 256, 1000
"""What is looked at grows with the cube of the units, times the time steps: more would take minutes to hours."""


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
            require_between("seq_len", self.seq_len, 1, MOST_STEPS)
        if self.hidden_size is not None:
            require_between("hidden_size", self.hidden_size, 1, MOST_UNITS)
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
    """Print every section as soon as it is there, and write the page.

    Args:
        request: What is asked for.
        console: Where to print.

    Returns:
        The page.

    Raises:
        RnnstudyError: Something is wrong with what was asked for, or the page cannot be written.
    """
    with Numerics(flush_subnormals=False).applied():
        subject, name = _subject(request)
        folder = request.out or Path("outputs/theory") / name
        make_folder(folder)
        console.print(printable(subject.title), style="bold", highlight=False, markup=False)
        parts: list[Callable[[], Section]] = [
            lambda: activations.section(subject, request.point),
            lambda: conditions.section(subject),
            lambda: contributions.section(subject),
            powers.section,
            lambda: sum_over_time.section(subject),
            lambda: growth.section(subject),
        ]
        sections = []
        for number, part in enumerate(parts, start=1):
            sections.append(part())
            _print(sections[-1], number, console)
    page = write_page(folder, subject.title, sections)
    console.print(f"\nPage with figures: {printable(str(page))}", highlight=False, markup=False, soft_wrap=True)
    return page


def _subject(request: Request) -> tuple[Subject, str]:
    """What is looked at, and a name for the page's folder: what was asked for is in it."""
    names = ("replica", "drive", "hidden_size", "seq_len", "radius", "seed")
    given = [f"{name}={getattr(request, name)}" for name in names if getattr(request, name) is not None]
    if request.point != Request.point:
        given.append(f"point={request.point}")
    if request.run is not None:
        loaded = load_run(request.run, request.step)
        subject = run_subject(
            loaded, replica=request.replica or 0, seq_len=request.seq_len, drive=request.drive or "task"
        )
        return subject, "_".join([f"{loaded.folder.path.resolve().name}_step={loaded.step}", *given])
    subject = random_subject(
        hidden_size=HIDDEN_SIZE if request.hidden_size is None else request.hidden_size,
        seq_len=SEQ_LEN if request.seq_len is None else request.seq_len,
        seed=request.seed or 0,
        radius=request.radius,
        matrix=None if request.matrix is None else read_matrix(request.matrix),
    )
    return subject, "_".join(["random" if request.matrix is None else request.matrix.stem, *given])


def _print(section: Section, number: int, console: Console) -> None:
    console.print(f"\n{number}. {printable(section.title)}", style="bold", highlight=False, markup=False)
    for paragraph in section.text:
        console.print(printable(paragraph), highlight=False, markup=False)
    for table in section.tables:
        console.print(_grid(table))


def _grid(table: Table) -> Grid:
    title, caption = Text(printable(table.title)), Text(printable(table.caption)) if table.caption else None
    grid = Grid(title=title, caption=caption, title_justify="left", caption_justify="left")
    for index, name in enumerate(table.header):
        grid.add_column(Text(printable(name)), justify="right" if index else "left", overflow="fold")
    for row in table.rows:
        grid.add_row(*(Text(printable(cell)) for cell in row))
    return grid
