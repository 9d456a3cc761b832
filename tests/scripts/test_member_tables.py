"""The tables of members in README.md and docs/ are what `scripts/member_tables.py` makes of the members."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "member_tables.py"))
OLD = "is old: python scripts/member_tables.py writes it anew"


def test_every_table_is_on_a_page_and_up_to_date():
    pages = {page: page.read_text() for page in SCRIPT["PAGES"]}
    for group in SCRIPT["HEADS"]:
        assert sum(f"<!-- members: {group} -->" in text for text in pages.values()) == 1, group
    for page, text in pages.items():
        assert SCRIPT["updated"](text) == text, f"A table of {page.name} {OLD}"


@pytest.mark.parametrize(
    ("references", "named"),
    [
        ("Elman, Finding structure in time, 1990.", "Elman 1990"),
        (
            "Tallec & Ollivier, Can recurrent neural networks warp time?, 2018 (arXiv:1804.11188)",
            "Tallec & Ollivier 2018",
        ),
        (
            "Vogt, Puelma Touzel, Shlizerman & Lajoie, On Lyapunov\n    exponents, 2022 (arXiv:2006.14123).",
            "Vogt et al. 2022",
        ),
        ("Li et al., IndRNN, 2018 (arXiv:1803.04831): 10; Arjovsky et al., 2016", "Li et al. 2018"),
        ("Defined here.", ""),
    ],
)
def test_the_first_paper_is_named(references, named):
    assert SCRIPT["paper"](f"Do it.\n\nReferences:\n    {references}\n\nArgs:\n    x: 2003.") == named
