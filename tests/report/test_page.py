"""The page shows what the gallery holds, nothing else, and asks nothing of any network."""

import re
from collections import Counter
from dataclasses import fields
from html.parser import HTMLParser

import numpy as np
import pytest

from deepbelief.errors import InvalidArgumentError
from deepbelief.evaluation.gallery import Chains, CodeMap, Gallery
from deepbelief.report.page import render_report, write_report
from deepbelief.types import Result

VOID = {"meta", "link", "img", "br", "hr", "input"}
SECTION_OF = {
    "layers": "model",
    "results": "numbers",
    "bounds": "likelihood",
    "histories": "curves",
    "filters": "filters",
    "drivers": "drivers",
    "samples": "samples",
    "class_samples": "class-samples",
    "chains": "chains",
    "completions": "completions",
    "reconstructions": "reconstructions",
    "confusion": "confusion",
    "hard_cases": "hard-cases",
    "code_map": "codes",
    "settings": "settings",
}
ATTACK = "<script>alert('$x_{$')</script>"


class Page(HTMLParser):
    """What is in a page: its open tags as they nest, its attributes, its text by element."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.mistakes: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[tuple[str, str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.stack or self.stack.pop() != tag:
            self.mistakes.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data):
        self.text.append((self.stack[-1] if self.stack else "", data))

    def ids(self) -> Counter:
        return Counter(attributes["id"] for _, attributes in self.elements if "id" in attributes)

    def sections(self) -> set[str]:
        return {str(attributes["id"]) for tag, attributes in self.elements if tag == "section"}


def only(full: Gallery, *names: str) -> Gallery:
    """A gallery with only those fields, and what tells how to draw them."""
    always = ("title", "image_shape", "feature_names")
    return Gallery(**{f.name: getattr(full, f.name) for f in fields(full) if f.name in (*always, *names)})


def test_every_section_is_there_and_linked(html):
    page = Page(html)
    assert page.sections() == set(SECTION_OF.values())
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert links == [f"#{attributes['id']}" for tag, attributes in page.elements if tag == "section"]


@pytest.mark.parametrize("name", SECTION_OF)
def test_section_appears_exactly_with_its_data(gallery, name):
    page = Page(render_report(only(gallery, name)))
    assert page.sections() == {SECTION_OF[name]}
    assert page.mistakes == []


def test_empty_gallery_is_a_page():
    page = Page(render_report(Gallery("Nothing yet")))
    assert page.sections() == set()
    assert ("h1", "Nothing yet") in page.text
    assert page.mistakes == []


def test_html_is_balanced_and_ids_are_unique(html):
    page = Page(html)
    assert page.mistakes == []
    assert page.stack == []
    assert {name: count for name, count in page.ids().items() if count > 1} == {}


def test_every_reference_stays_inside_the_page(html):
    page = Page(html)
    ids = page.ids()
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert name not in ("srcset", "action", "poster", "xlink:href")
            if name in ("src", "href"):
                assert value.startswith("data:") or (value[0] == "#" and value[1:] in ids), (tag, value[:60])
    assert all(target in ids for target in re.findall(r"url\(#([^)]+)\)", html))
    rest = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=\s]*", "", html).replace("http-equiv", "")
    assert "http" not in rest
    assert "//" not in rest
    assert "@import" not in rest
    assert not re.search(r"url\((?!#)", rest)


def test_browser_is_told_to_load_nothing(html):
    policies = [a.get("content", "") for tag, a in Page(html).elements if tag == "meta"]
    assert any("default-src 'none'" in policy for policy in policies)


def test_pictures_have_texts_for_those_who_do_not_see_them(html):
    elements = Page(html).elements
    pictures = [a for tag, a in elements if tag == "img"]
    charts = [a for tag, a in elements if tag == "svg"]
    assert charts
    assert all(a["alt"] for a in pictures)
    assert all(a["role"] == "img" and a["aria-label"] for a in charts)


def test_charts_take_the_colours_of_the_page(html):
    assert "var(--ink)" in html
    assert not re.search(r"#0[12][ab]00", html)


def test_texts_are_escaped_everywhere(gallery):
    gallery.title = gallery.description = gallery.created = gallery.command = ATTACK
    gallery.advice, gallery.filter_notes, gallery.class_names = [ATTACK], [ATTACK, ATTACK], [ATTACK] * 3
    gallery.settings, gallery.data_facts = {ATTACK: {"name": ATTACK}}, {ATTACK: ATTACK}
    gallery.layers = [{"name": ATTACK, "units": 3, "kind": ATTACK}]
    gallery.results = [Result(ATTACK, 1.0, "exact", 0.0, ATTACK, ATTACK, ATTACK)]
    gallery.headline = [ATTACK]
    gallery.histories = {ATTACK: [{"epoch": 1, ATTACK: 1.0}, {"epoch": 2, ATTACK: 2.0}]}
    gallery.bounds = {ATTACK: next(iter(gallery.bounds.values()))}
    gallery.code_map.method = ATTACK
    if gallery.feature_names:
        gallery.feature_names = [f"{ATTACK}{i}" for i in range(12)]
    page = Page(render_report(gallery))
    assert "script" not in {tag for tag, _ in page.elements}
    assert page.mistakes == []
    assert ("h1", ATTACK) in page.text


def test_numbers_carry_their_kind_and_missing_ones_say_none(html):
    row = re.search(r"<tr><th scope=\"row\">Log likelihood</th>.*?DBN</td></tr>", html).group()
    assert "14.620" in row
    assert "± 0.034" in row
    assert '<span class="kind lower_bound">lower bound</span>' in row
    gan = re.search(r"<tr><th scope=\"row\">Log likelihood</th><td class=\"number\">none.*?</tr>", html).group()
    assert "GAN" in gan
    legend = html[html.index('<dl class="legend">') :]
    assert "the truth is at least this" in legend
    assert "the truth is at most this" not in legend


def test_headline_chooses_the_cards(gallery):
    def cards(html: str) -> list[str]:
        return re.findall(r'<li><span class="quantity">([^<]*)<', html)

    gallery = only(gallery, "results", "headline")
    assert cards(render_report(gallery)) == ["Test error"]
    gallery.headline = None
    assert cards(render_report(gallery)) == ["Log likelihood", "Test error"]


def test_same_gallery_gives_the_same_page(gallery):
    some = only(gallery, "histories", "confusion", "code_map", "samples")
    assert render_report(some) == render_report(some)


def test_colours_large_pictures_and_real_labels():
    rng = np.random.default_rng(1)
    for shape in [(3, 8, 6), (8, 6, 3), (1, 8, 6)]:
        width = int(np.prod(shape))
        gallery = Gallery(
            "Colours",
            image_shape=shape,
            samples=rng.random((20, width)),
            filters=[rng.normal(size=(3, width))],
            code_map=CodeMap(rng.normal(size=(5, 2)), rng.random(5)),
        )
        assert Page(render_report(gallery)).sections() == {"samples", "filters", "codes"}
    large = Gallery("Large", image_shape=(300, 301), samples=rng.random((4, 300 * 301)))
    assert len(render_report(large)) < 200_000


def test_page_of_a_large_gallery_stays_small():
    rng = np.random.default_rng(2)
    gallery = Gallery(
        "Large",
        image_shape=(28, 28),
        filters=[rng.normal(size=(500, 784)) for _ in range(3)],
        samples=rng.random((1000, 784)),
        chains=Chains(rng.random((50, 100, 784)), np.arange(100)),
        code_map=CodeMap(rng.normal(size=(10_000, 2)), rng.integers(0, 10, 10_000)),
    )
    assert len(render_report(gallery)) < 3_000_000


def test_write_report_takes_a_file_or_a_folder(tmp_path):
    gallery = Gallery("Here")
    assert write_report(gallery, tmp_path / "new" / "page.html") == tmp_path / "new" / "page.html"
    assert write_report(gallery, tmp_path) == tmp_path / "report.html"
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render_report(gallery)


def test_arrays_that_were_set_later_are_checked_before_anything_is_written(gallery, tmp_path):
    gallery.samples = np.zeros((2, 11))
    with pytest.raises(InvalidArgumentError, match="samples must have 12 features"):
        write_report(gallery, tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_filters_share_a_scale_on_request():
    weights = np.outer([1.0, 0.01], np.linspace(-1, 1, 6))
    pages = [
        render_report(Gallery("Scales", image_shape=(2, 3), filters=[weights], shared_filter_scale=shared))
        for shared in (False, True)
    ]
    assert "Every tile has its own scale" in pages[0]
    assert "tiles share one scale" in pages[1]
    pictures = [re.search(r'src="(data:[^"]*)"', page).group(1) for page in pages]
    assert pictures[0] != pictures[1]


def test_filters_say_of_how_many_units_they_are():
    """A gallery keeps the weights of a hundred units; the layer has more."""
    layers = [{"name": "data", "units": 6}, {"name": "layer 1", "units": 500}, {"name": "layer 2", "units": 3}]
    page = render_report(Gallery("Many", layers=layers, image_shape=(2, 3), filters=[np.eye(6), np.eye(6)[:3]]))
    assert "6 of 500 units." in page
    assert "3 units." in page
    assert "6 units." in render_report(Gallery("Few", image_shape=(2, 3), filters=[np.eye(6)]))
