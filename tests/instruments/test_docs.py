"""What the page says of the instruments is what there is."""

from pathlib import Path

from tools.members import compose, members

ROOT = Path(__file__).parents[2]


def rows(heading: str) -> dict[str, list[str]]:
    page = (ROOT / "docs" / "instruments.md").read_text()
    lines = page.partition(heading)[2].partition("\n## ")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    return {row[0].strip("`"): row for row in cells}


def test_every_instrument_is_described_and_its_cost_told():
    described, costs = rows("# What is measured"), rows("## What they cost")
    assert sorted(described) == sorted(costs) == members("instrument")
    readme = (ROOT / "README.md").read_text()
    assert all(f"`{name}`" in readme for name in described)


def test_the_default_ones_are_told():
    default = set(compose()["instrument"])
    assert {name for name, row in rows("# What is measured").items() if row[2] == "yes"} == default
