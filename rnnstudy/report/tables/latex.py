"""Tables as LaTeX for a paper: a tabular of the package booktabs, in a float and with a caption of the author's."""

import re
from collections.abc import Iterable, Sequence

from rnnstudy.core.text import printable
from rnnstudy.report.tables.columns import Column, one_line

_NUMBER = re.compile(r"(?<![\w.+-])([+-]?)(\d+(?:\.\d+)?)(?:e([+-]\d+))?(?![\w.]*\w)")
_SPECIAL = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": "$<$", ">": "$>$", "∞": r"$\infty$", "→": r"$\to$", "≈": r"$\approx$", "Δ": r"$\Delta$"},
    **{"|": r"\textbar{}", '"': r"\textquotedbl{}", "\N{EN DASH}": "--"},
}


def latex_table(parts: Iterable[tuple[str, Sequence[Column]]], *, note: str = "") -> str:
    """Return sections of a table, each with its title or none, as one tabular; the note becomes a comment."""
    sections = list(parts)
    columns = sections[0][1]
    lines = [r"% \usepackage{booktabs}", *([f"% {printable(note)}"] if note else [])]
    lines += [rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}", r"\toprule"]
    lines += [_row(escape_latex(column.header) for column in columns)]
    for title, section in sections:
        lines += [r"\midrule"]
        if title:
            lines += [rf"\multicolumn{{{len(columns)}}}{{l}}{{{escape_latex(title)}}} \\"]
        rows = zip(*([escape_latex(one_line(*cell)) for cell in column.cells] for column in section), strict=True)
        lines += map(_row, rows)
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def escape_latex(text: str) -> str:
    r"""Return text that LaTeX shows as it is, with signed numbers and powers of ten as formulas.

    >>> print(escape_latex("clip_norm: 1.5e+09 [-0.3, +2], 50 %"))
    clip\_norm: $1.5 \times 10^{9}$ [$-0.3$, $+2$], 50 \%
    """
    found: list[str] = []
    start = 0
    for match in _NUMBER.finditer(text):
        sign, digits, power = match.groups()
        if sign or power:
            raised = rf" \times 10^{{{int(power)}}}" if power else ""
            found += [_escape(text[start : match.start()]), f"${sign}{digits}{raised}$"]
            start = match.end()
    return "".join([*found, _escape(text[start:])])


def _escape(text: str) -> str:
    return "".join(_SPECIAL.get(letter, letter) for letter in text)


def _row(cells: Iterable[str]) -> str:
    # A bracket after the end of a row would be its optional argument.
    return " & ".join(f"{{{cell}}}" if cell.startswith("[") else cell for cell in cells) + r" \\"
