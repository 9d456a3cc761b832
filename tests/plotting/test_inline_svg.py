"""Figures as parts of a page."""

import re
from html.parser import HTMLParser

from matplotlib.figure import Figure
from typing_extensions import override

from rnnstudy.plotting.drawing import Drawing, render_figure
from rnnstudy.plotting.style import COLORS, GRID, INK, plain, report_style, tidy


class Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.text = ""

    @override
    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for key, value in attrs:
            if key == "id":
                self.ids.append(value or "")
            self.references += re.findall(r"url\(#([^)]*)\)", value or "")
            if key == "href" and value and value.startswith("#"):
                self.references.append(value[1:])

    @override
    def handle_data(self, data):
        self.text += data


def draw(title: str, *, file: str = "figure", alt: str = "a line") -> Drawing:
    with report_style():
        figure = Figure(figsize=(4, 3))
        axes = figure.add_subplot()
        tidy(axes)
        axes.plot([0, 1], [0, 1], color=COLORS[0], marker="o")
        axes.set_title(plain(title, limit=400), color=INK)
        return render_figure(figure, file=file, alt=alt)


def elements(html: str) -> Elements:
    found = Elements()
    found.feed(str(html))  # not Markup, whose parts escape what is joined to them
    return found


def test_hostile_text_stays_text_in_the_element_and_in_its_label():
    hostile = '"><img src=x onerror=alert(1)> <script>alert(1)</script> ]]> &amp; $x^{$ --> #333333'
    drawing = draw(hostile, alt=hostile)
    found = elements(drawing.inline)
    assert not {"img", "script"} & set(found.tags)
    assert " ".join(hostile.split()) in " ".join(found.text.split())
    assert found.tags[0] == "svg"
    assert elements(drawing.svg.decode()).tags.count("script") == 0


def test_known_colours_become_variables_and_no_others_are_left():
    inline = draw("title").inline
    assert "var(--line-0)" in inline
    assert "var(--ink)" in inline
    assert "var(--grid)" in inline
    assert not {INK, GRID, COLORS[0]} & set(re.findall(r"#[0-9a-f]{6}", inline))
    assert INK.encode() in draw("title").svg


def test_figures_in_one_page_share_no_id_and_every_reference_has_its_target():
    one, other = (elements(draw("title", file=file).inline) for file in ("one", "other"))
    assert one.references
    assert set(one.references) <= set(one.ids)
    assert set(other.references) <= set(other.ids)
    assert not set(one.ids) & set(other.ids)


def test_nothing_names_an_address_on_the_network():
    assert "http" not in draw("title").inline


def test_the_same_figure_gives_the_same_bytes():
    assert draw("title") == draw("title")


def test_the_element_is_as_wide_as_the_figure_at_96_pixels_an_inch():
    drawing = draw("title")
    assert 'width="384"' in drawing.inline
    assert 'height="288"' in drawing.inline
    assert drawing.pixels_wide == int.from_bytes(drawing.png[16:20], "big") == 4 * 144
