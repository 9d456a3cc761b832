"""An SVG figure as part of a page: it takes the page's font and colours, light or dark."""

import re
from xml.etree import ElementTree

from markupsafe import Markup

from rnnstudy.plotting.style import AXIS, BASELINE_COLOR, COLORS, GREY, GRID, INK

_ROLES = {INK: "ink", BASELINE_COLOR: "ink", GREY: "soft", AXIS: "axis", GRID: "grid"} | {
    color: f"line-{number}" for number, color in enumerate(COLORS)
}
_COLOR = re.compile("|".join(_ROLES))
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_DROPPED = ("metadata", "style")  # the page has its own style; metadata names addresses on the network
PIXELS_PER_INCH = 96
"""CSS pixels per inch."""


def to_inline(svg: bytes, *, name: str, alt: str, inches_wide: float) -> Markup:
    """Return matplotlib's SVG document as an `svg` element for a page; `alt` says what it shows, in words.

    Known colours become variables of the page's style. Ids begin with `name`, unique in the page, so that several
    figures can stand in one page. Text stays text, escaped.
    """
    root = ElementTree.fromstring(svg)
    used = {found for element in root.iter() for found in _references(element)}
    _convert(root, name, used)
    _, _, width, height = (float(part) for part in root.attrib["viewBox"].split())
    wide = inches_wide * PIXELS_PER_INCH
    root.attrib |= {"role": "img", "aria-label": alt, "width": f"{wide:.0f}", "height": f"{wide * height / width:.0f}"}
    root.attrib.pop("version", None)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _references(element: ElementTree.Element) -> list[str]:
    found = [match for value in element.attrib.values() for match in _REFERENCE.findall(value)]
    links = [value[1:] for key, value in element.attrib.items() if _local(key) == "href" and value.startswith("#")]
    return found + links


def _convert(element: ElementTree.Element, name: str, used: set[str]) -> None:
    for child in list(element):
        if _local(child.tag) in _DROPPED:
            element.remove(child)
        else:
            _convert(child, name, used)
    element.tag = _local(element.tag)
    element.attrib = {
        _local(key): _value(_local(key), value, name)
        for key, value in element.attrib.items()
        if _local(key) != "id" or value in used
    }


def _value(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return f"#{name}-{value[1:]}" if value.startswith("#") else "".join(value.split())
    if key == "style":
        value = _COLOR.sub(lambda found: f"var(--{_ROLES[found[0]]})", value)
    return _REFERENCE.sub(lambda found: f"url(#{name}-{found[1]})", value)
