"""`python scripts/member_tables.py` writes the tables of members in README.md and docs/; a test says if they are old.

A row is made from the member's docstring, class and yaml file, and stands between `<!-- members: GROUP -->` and
`<!-- end -->`. The first lines of a yaml file may describe what no class of its own does.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from inspect import getdoc
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from rnnstudy.config.build import TARGET, build, locate
from rnnstudy.config.folder import conf_folder
from rnnstudy.config.members import member, members, on_by_default, suited_models
from rnnstudy.core.schedule import Every

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

HEADS = {
    "groups": "group | members | about",
    "task": "name | what is asked | arguments; in bold what sets the length | time steps | chance loss "
    "| chance accuracy | memoryless loss",
    "model": "name | recurrence | paper",
    "init": "name | what it sets | paper | applies to",
    "mitigation": "name | what it does | paper | applies to | edits adjoints | off",
    "schedule": "name | factor of the learning rate | paper",
    "instrument": "name | what it tells | looks at | tier | on by default | asked at steps",
}

GROUPS = {
    "task": "[what each asks, and what chance gets](docs/tasks.md)",
    "model": "any `model.num_layers`; [what each is](docs/mitigations.md#models-model)",
    "init": "none is torch's; [what each sets](docs/mitigations.md#initialisations-init)",
    "mitigation": "none is the baseline; [what each does](docs/mitigations.md#mitigations-mitigation)",
    "optimizer": "or any other of `torch.optim` that treats every weight by itself",
    "schedule": "of the learning rate, each with a warm-up",
    "instrument": "[what each tells, which are on by default, and what they cost](docs/instruments.md)",
}


@dataclass(frozen=True)
class Member:
    """A member, with what is read in its files.

    Args:
        group: Its group.
        name: Its name.
    """

    group: str
    name: str

    @cached_property
    def node(self) -> dict[str, Any]:
        """Its configuration."""
        return member(self.group, self.name)

    @cached_property
    def cls(self) -> Any:
        """Its class."""
        return locate(self.node[TARGET], self.name)

    @cached_property
    def built(self) -> Any:
        """The object that its configuration describes."""
        return build(self.node, self.cls, path=f"{self.group}={self.name}")

    @cached_property
    def text(self) -> str:
        """The first lines of its yaml file, or else its docstring."""
        file = (conf_folder() / self.group / f"{self.name}.yaml").read_text()
        lines = takewhile(lambda line: line.startswith("# "), file.splitlines())
        header = [line.removeprefix("# ") for line in lines if not line.startswith("# @package")]
        return "\n".join(header) or getdoc(self.cls) or ""

    @property
    def on_by_default(self) -> bool:
        """Whether conf/config.yaml names it in the list of its group."""
        return self.name in on_by_default(self.group)


def updated(page: str) -> str:
    """Return a page with up-to-date tables."""
    return re.sub(
        r"(<!-- members: (\w+) -->\n).*?(?=<!-- end -->)",
        lambda found: found[1] + table(found[2]),
        page,
        flags=re.DOTALL,
    )


def table(group: str) -> str:
    """Return the table of a group, a line per member; of "groups", a line per group."""
    if group == "groups":
        rows = [
            [f"`{each}`", ", ".join(f"`{one.name}`" for one in of_group(each)), note] for each, note in GROUPS.items()
        ]
    else:
        rows = [[f"`{each.name}`", summary(each), *FACTS[group](each)] for each in of_group(group)]
    heads = HEADS[group].split(" | ")
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (heads, ["---"] * len(heads), *rows))


def of_group(group: str) -> list[Member]:
    """Return the members of a group, those that are on by default first."""
    return sorted((Member(group, name) for name in members(group)), key=lambda each: not each.on_by_default)


def summary(each: Member) -> str:
    """Return the first line of its text."""
    return each.text.partition("\n")[0].rstrip(".").replace("|", "\\|")


def of_task(each: Member) -> list[str]:
    """Return a task's arguments, and its figures with their defaults; none where a file of the user's decides."""
    length = each.cls.length_field
    arguments = [f"**`{length}`**"] if length else []
    for key in (key for key in each.node if key not in {TARGET, length}):
        hint = get_type_hints(each.cls)[key]
        choices = f" ({', '.join(map(str, get_args(hint)))})" if get_origin(hint) is Literal else ""
        arguments.append(f"`{key}`{choices}")
    named = ", ".join(arguments)
    if "???" in each.node.values():
        return [named, str(each.node[length]), "", "", ""]
    facts = each.built.facts
    figures = (facts.chance_loss, facts.chance_accuracy, facts.memoryless_loss)
    return [named, str(facts.seq_len), *("" if figure is None else f"{figure:.4g}" for figure in figures)]


def of_model(each: Member) -> list[str]:
    """Return the paper of a model, or else that of its recurrence."""
    return [paper(each.text) or paper(getdoc(type(each.built.recurrence())) or "")]


def of_init(each: Member) -> list[str]:
    """Return the paper and the models."""
    suited = suited_models(lambda model: each.built.require_suits(model.recurrence(), model.set_by_model))
    return [paper(each.text), suited]


def of_mitigation(each: Member) -> list[str]:
    """Return the paper, the models, whether it edits adjoints, and what switches it off."""
    off = ", ".join(f"`{key}={value}`" for key, value in each.cls.off.items()).replace(".0`", "`")
    by_default = ", as it is" if each.cls.off.items() <= each.node.items() else ""
    edits = "yes" if each.cls.edits_adjoints() else "no"
    return [paper(each.text), suited_models(each.built.require_suits), edits, off + by_default]


def of_instrument(each: Member) -> list[str]:
    """Return what it looks at, its tier, and when it is asked."""
    schedule = each.built.schedule
    steps = (
        f"every {schedule.interval}"
        if isinstance(schedule, Every)
        else ", ".join(map(str, schedule.steps)) or "every one"
    )
    return [each.cls.looks_at, f"`{each.cls.tier}`", "yes" if each.on_by_default else "no", steps]


FACTS: dict[str, Callable[[Member], list[str]]] = {
    "task": of_task,
    "model": of_model,
    "init": of_init,
    "mitigation": of_mitigation,
    "schedule": lambda each: [paper(each.text)],
    "instrument": of_instrument,
}


def paper(text: str) -> str:
    """Name the first paper of a docstring, such as "Pascanu et al. 2013"; "" without any."""
    reference = text.partition("References:")[2].strip()
    authors = re.match(r"(?P<first>[\w-]+)(?P<more>(?:, [\w\s-]+?)* & [\w\s-]+?| et al\.)?, ", reference)
    year = re.search(r"\b(?:19|20)\d\d\b", reference)
    if authors is None or year is None:
        return ""
    more = authors["more"] or ""
    return f"{authors['first']}{more if more.startswith(' &') or not more else ' et al.'} {year[0]}"


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(updated(path.read_text()))
