"""`rnnstudy theory`: every topic for a subject, in the terminal and as a page."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from rnnstudy.core.errors import ConfigError, require_at_least, require_between, require_finite
from rnnstudy.core.numerics import Numerics
from rnnstudy.core.text import printable
from rnnstudy.gradients.trajectories import Drive
from rnnstudy.study.run.load import load_run
from rnnstudy.theory.measures.networks import MOST_UNITS, Subject, random_subject, read_matrix, run_subject
from rnnstudy.theory.page import make_folder, write_page
from rnnstudy.theory.topic import Table, Topic
from rnnstudy.theory.topics.activations import explain_activations
from rnnstudy.theory.topics.cliff import explain_cliff
from rnnstudy.theory.topics.conditions import explain_conditions
from rnnstudy.theory.topics.contributions import explain_contributions
from rnnstudy.theory.topics.growth import explain_growth
from rnnstudy.theory.topics.opening import explain_opening
from rnnstudy.theory.topics.powers import explain_powers
from rnnstudy.theory.topics.sum_over_time import explain_sum_over_time

HIDDEN_SIZE, SEQ_LEN = 16, 20
"""Default size of random networks."""

MOST_STEPS = 1000
"""Most time steps: the cost of a measurement is proportional to them, and to the cube of the units."""

MOST_RADII = 4
"""Most spectral radii on one page: with three models each, a figure of lines has twelve."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """Networks to explain, and how.

    Args:
        run: Folder of a run whose network is explained; None for random networks.
        step: Checkpoint of the run, in optimizer steps; None for the last.
        replica: Replica of the run; None for 0.
        drive: Drive of the run's network: its task's inputs (None too), or nothing.
        matrix: File with W_hh for random vanilla networks.
        hidden_size: Units of random networks; None for 16.
        seq_len: Time steps; None for 20, or the run's own.
        radius: Spectral radii of random recurrent matrices, at most 4; None leaves torch's initialisation.
        seed: Seed of random networks; None for 0.
        point: Point where the tangent touches the activations.
        out: Folder to write to; None for one below outputs/theory.
    """

    run: Path | None = None
    step: int | None = None
    replica: int | None = None
    drive: Drive | None = None
    matrix: Path | None = None
    hidden_size: int | None = None
    seq_len: int | None = None
    radius: tuple[float, ...] | None = None
    seed: int | None = None
    point: float = 1.0
    out: Path | None = None

    def __post_init__(self) -> None:
        require_finite("point", self.point)
        if self.seq_len is not None:
            require_between("seq_len", self.seq_len, 1, MOST_STEPS)
        if self.hidden_size is not None:
            require_between("hidden_size", self.hidden_size, 1, MOST_UNITS)
        if self.radius is not None:
            _require_radii(self.radius)
        if self.run is None:
            _refuse(self._given("step", "replica", "drive"), "goes with --run only")
        else:
            _refuse(self._given("matrix", "hidden_size", "radius", "seed"), "does not go with --run")
        if self.matrix is not None:
            _refuse(self._given("hidden_size", "radius"), "does not go with --matrix")

    def _given(self, *names: str) -> dict[str, object]:
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def subject(self) -> tuple[Subject, str]:
        """Return the networks to explain, and a name for the page's folder that lists the options given."""
        given = self._given("replica", "drive", "hidden_size", "seq_len", "radius", "seed")
        given |= {"radius": ",".join(f"{radius:g}" for radius in self.radius)} if self.radius else {}
        given |= {"point": self.point} if self.point != Question.point else {}
        if self.run is not None:
            loaded = load_run(self.run, self.step)
            subject = run_subject(loaded, replica=self.replica or 0, seq_len=self.seq_len, drive=self.drive or "task")
            name = f"{loaded.folder.path.resolve().name}_step={loaded.step}"
        else:
            subject = random_subject(
                hidden_size=self.hidden_size or HIDDEN_SIZE,
                seq_len=self.seq_len or SEQ_LEN,
                seed=self.seed or 0,
                radii=self.radius or (),
                matrix=None if self.matrix is None else read_matrix(self.matrix),
            )
            name = "random" if self.matrix is None else self.matrix.stem
        return subject, "_".join([name, *(f"{key}={value}" for key, value in given.items())])


def _require_radii(radii: tuple[float, ...]) -> None:
    for radius in radii:
        require_at_least("radius", radius, 0)
        require_finite("radius", radius)
    if len({f"{radius:g}" for radius in radii}) < len(radii):
        raise ConfigError("radius must not hold the same number twice; leave one out.")
    if len(radii) > MOST_RADII:
        raise ConfigError(f"radius must hold at most {MOST_RADII} numbers, got {len(radii)}; leave some out.")


def _refuse(options: Mapping[str, object], why: str) -> None:
    for name in options:
        raise ConfigError(f"--{name.replace('_', '-')} {why}; leave it out.")


def explain(question: Question, console: Console) -> Path:
    """Print each topic when ready and return the page's path; raise RnnstudyError for bad options or a failed write."""
    found = []
    with Numerics(flush_subnormals=False).applied():
        subject, name = question.subject()
        folder = question.out or Path("outputs/theory") / name
        make_folder(folder)
        console.print(printable(subject.title), style="bold", highlight=False, markup=False)
        for number, topic in enumerate(topics(subject, question.point), start=1):
            _print(topic, number, console)
            found.append(topic)
    page = write_page(folder, subject.title, found)
    console.print(f"\nPage with figures: {printable(str(page))}", highlight=False, markup=False, soft_wrap=True)
    return page


def topics(subject: Subject, point: float) -> Iterator[Topic]:
    """Yield the topics in order, each computed only when it is next."""
    yield explain_opening(subject)
    yield explain_activations(subject, point)
    yield explain_conditions(subject)
    yield explain_contributions(subject)
    yield explain_powers()
    yield explain_sum_over_time(subject)
    yield explain_growth(subject)
    yield explain_cliff()


def _print(topic: Topic, number: int, console: Console) -> None:
    console.print(f"\n{number}. {printable(topic.title)}", style="bold", highlight=False, markup=False)
    for paragraph in topic.text:
        console.print(printable(paragraph), highlight=False, markup=False)
    for table in topic.tables:
        console.print(_grid(table))


def _grid(table: Table) -> Grid:
    title, caption = Text(printable(table.title)), Text(printable(table.caption)) if table.caption else None
    grid = Grid(title=title, caption=caption, title_justify="left", caption_justify="left")
    for index, name in enumerate(table.header):
        grid.add_column(Text(printable(name)), justify="right" if index else "left", overflow="fold")
    for row in table.rows:
        grid.add_row(*(Text(printable(cell)) for cell in row))
    return grid
