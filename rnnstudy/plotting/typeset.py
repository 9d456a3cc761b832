"""Plain-text formulas, as a terminal shows them, set for a page."""

import re

from markupsafe import Markup, escape

_RAISED = re.compile(r"\^(-?\d+(?:\.\d+)?|\([^()]*\)|[a-zA-Z]\b)")
_POWER = re.compile(r"(?<![\d.])10\^(-?\d+(?:\.\d+)?)")
_LOWERED = re.compile(r"(?<![A-Za-z_])([d∂]?[A-Za-z])_(\{[^{}]*\}|\([^()]*\)|[A-Za-z0-9]+\b)")


def typeset(text: str) -> Markup:
    """Return text as escaped HTML, with what follows a ^ raised, and what follows a single letter and a _ lowered.

    >>> typeset("h_{t-1} is 10^-4.78 of W_hh^n, in skip_rnn too")
    Markup('h<sub>t-1</sub> is 10<sup>-4.78</sup> of W<sub>hh</sub><sup>n</sup>, in skip_rnn too')
    """
    raised = _RAISED.sub(lambda found: f"<sup>{_bare(found[1])}</sup>", str(escape(text)))
    return Markup(_LOWERED.sub(lambda found: f"{found[1]}<sub>{_bare(found[2])}</sub>", raised))


def _bare(text: str) -> str:
    """Return the text without the brackets that only group it."""
    return text[1:-1] if text[0] in "({" else text


def raise_powers(text: str) -> Markup:
    """Return any plain text as escaped HTML, with the exponents of powers of ten raised.

    >>> raise_powers("a_b^2: 10^-9.4 & less")
    Markup('a_b^2: <span class="power">10<sup>-9.4</sup></span> &amp; less')
    """
    return Markup(_POWER.sub(r'<span class="power">10<sup>\1</sup></span>', str(escape(text))))
