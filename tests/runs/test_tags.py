"""Log tags: spelled in one place each, and described by what is really logged."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest
from tools.members import members

import rnnstudy
from rnnstudy.report.figures.draw import FIGURES
from rnnstudy.runs import tags
from rnnstudy.writers.overview import RunFacts, overview_figures

PACKAGE = Path(rnnstudy.__file__).parent
SPELLED_BY_MEMBERS = {*members("instrument"), *members("mitigation")}


def literals(path: Path) -> list[str]:
    """List the texts of a file, f-strings up to their first field, without docstrings."""
    tree = ast.parse(path.read_text())
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        str(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts
    ]


def test_every_tag_is_spelled_in_one_file():
    groups = {tags.group(tag) for tag in tags.TAGS if not tag.startswith("{")} | SPELLED_BY_MEMBERS
    spelled: dict[str, set[str]] = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        for text in literals(path):
            head, slash, rest = text.partition("/")
            if slash and head in groups and "." not in rest:
                spelled[head].add(path.relative_to(PACKAGE).as_posix())
    shared = {"runs/tags.py"}
    for head, files in spelled.items():
        own = {f"{kind}/{head}.py" for kind in ("instruments", "mitigations")}
        assert files == shared or (len(files - shared) == 1 and files - shared <= own), (head, files)


@pytest.mark.parametrize("tag", tags.TAGS)
def test_a_tag_belongs_to_its_own_family_and_what_it_names_exists(tag):
    filled = tag.format(
        state="h", layer=3, part="total", metric="loss", seq_len=7, lag="0004", kind="nan", mitigation="m"
    )
    assert tags.fields(tag, filled) is not None
    assert tags.fields(tag, f"{filled}x/y") is None
    drawn = {*FIGURES, *(figure.tag for figure in overview_figures(RunFacts()))}
    assert all(place in drawn or place.startswith("column") for place in tags.TAGS[tag].read_by)


def test_the_top_layer_is_found_by_number_not_by_spelling():
    logged = [tags.HORIZON.format(state=state, layer=layer) for state in ("h", "c") for layer in (2, 10, 9)]
    assert tags.top(tags.HORIZON, logged, state="h") == "horizon/h/layer_10/lag"
    assert tags.top(tags.HORIZON, logged, state="x") is None
