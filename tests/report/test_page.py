"""Pages: complete, well formed, and showing what they were given."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from windvane.pictures import image_grid
from windvane.report import (
    Report,
    bar,
    cards,
    curves,
    facts,
    figure,
    image,
    images_row,
    note,
    picture,
    table,
)
from windvane.report.parts import value_cell
from windvane.report.scales import Scale

VOID = {"meta", "img", "br", "use", "path", "link"}


class Checker(HTMLParser):
    """Collects text and attributes, and refuses tags that are not closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        self.text.append(data)


def read(page):
    """The page's text and attributes; fails where it is not well formed or asks for anything outside."""
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert not checker.open
    assert "://" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", page), "the page names an address"
    for tag, name, value in checker.attributes:
        if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert value.startswith(("data:image/png;base64,", "#")), f"<{tag} {name}={value[:40]}>"
    assert not re.search(r"@import|url\((?!#)|<script|<link|<iframe", page)
    return "".join(checker.text), checker.attributes


def decoded(html):
    """All images embedded in a piece of HTML, as arrays."""
    found = re.findall(r"base64,([A-Za-z0-9+/=]+)", html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


def pictures(count, channels=1, side=4):
    return np.random.default_rng(0).integers(0, 256, (count, channels, side, side), dtype=np.uint8)


def full_page():
    rows = pictures(6)
    steps = list(range(1, 1001))
    card = bar({"a": 0.75, "b": 0.25}) + images_row(rows[:3])
    loss = curves({"loss": (steps, [1 / s for s in steps])}, title="Loss", log_y=True)
    return (
        Report("A title", subtitle="and more")
        .section("Summary", facts({"images": 6, "loss": "0.3"}), note("Look out"), intro="What was done.")
        .section("Clusters", cards([("Cluster 0", "3 images", card)]))
        .section("Grid", picture(image_grid(rows, columns=3), caption="Six"))
        .section("Curves", figure(loss))
        .section("Numbers", table(["metric", "value"], [["FD", value_cell(1.5, 1.0, 2.0)]], numbers=[1]))
    )


def test_a_page_is_whole_and_asks_for_nothing(tmp_path):
    path = full_page().write(tmp_path / "page.html")
    text, attributes = read(path.read_text(encoding="utf-8"))
    for words in (
        "A title",
        "What was done.",
        "Look out",
        "Cluster 0",
        "a 75%",
        "FD",
        "1.5",
        "1 – 2",
        "Loss",
    ):
        assert words in text
    targets = {value[1:] for tag, name, value in attributes if tag == "a" and name == "href"}
    assert targets == {value for tag, name, value in attributes if tag == "section" and name == "id"}
    assert len(targets) == 5


HOSTILE = st.text(alphabet="<>&\"'/ab=é", max_size=20)


@given(words=HOSTILE, number=st.floats(allow_nan=False))
def test_text_stays_text(words, number):
    page = Report(words, subtitle=words).section(words, facts({words: number}), note(words), intro=words)
    page.section("t", table([words], [[words], [number]]), cards([(words, words, "")]), figure("", words))
    page.section("i", image(pictures(1)[0], title=words), bar({words: 1.0}))
    text, _ = read(page.html())
    assert text.count(words) >= 8


@pytest.mark.parametrize(("channels", "side"), [(1, 4), (3, 5), (4, 3)])
def test_embedded_images_are_the_images(channels, side):
    rows = pictures(3, channels, side)
    found = decoded(images_row(rows, side=32))
    wanted = [row[0] if channels == 1 else row.transpose(1, 2, 0) for row in rows]
    assert all(np.array_equal(one, two) for one, two in zip(found, wanted, strict=True))


def test_small_images_are_shown_large_and_keep_their_shape():
    html = image(np.zeros((1, 8, 16), dtype=np.uint8), side=40)
    assert "width='80' height='40'" in html and "pixels" in html
    assert "width='200' height='100'" in image(np.zeros((1, 100, 200)), side=40)


def test_captions_must_match():
    with pytest.raises(ValueError, match="3 images need 3 captions, got 1"):
        images_row(pictures(3), captions=["one"])


def test_a_bar_shows_shares_largest_first():
    html = bar({"small": 0.1, "large": 0.6, "middle": 0.3}, named=2)
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%", html)]
    assert widths == [60.0, 30.0, 10.0]
    assert "large 60%" in html and "middle 30%" in html and "small" not in html
    same = bar({"small": 0.9, "large": 0.1}, colours={"small": 4, "large": 2})
    assert same.index("--c4") < same.index("--c2")


def test_curves_follow_the_page_and_carry_their_labels():
    svg = curves({"one": ([0, 1], [1.0, 2.0]), "two": ([0, 1], [2.0, 1.0])}, title="T", x_label="step")
    assert svg.startswith("<svg") and "xmlns" not in svg
    for words in ("one", "two", "T", "step", "var(--c0)", "var(--c1)", "var(--ink)"):
        assert words in svg
    assert "&lt;b&gt;" in curves({"<b>": ([0, 1], [1.0, 2.0]), "x": ([0], [1.0])})


def numbers_of(svg):
    """Places of the first curve, as the path says them."""
    path = re.search(r'<path d="([^"]*)"', svg).group(1)
    return [(kind, float(x), float(y)) for kind, x, y in re.findall(r"([ML])([\d.-]+) ([\d.-]+)", path)]


def test_a_curve_lies_where_its_axes_say():
    svg = curves({"y": ([0, 50, 100], [0.01, 1.0, 0.1])}, log_y=True, title="T")
    points = numbers_of(svg)
    labels = {
        text: (float(x), float(y))
        for x, y, text in re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]+)</text>', svg)
    }
    for (_, x, y), across, up in zip(points, ("0", None, "100"), ("0.01", "1", "0.1")):
        assert across is None or x == pytest.approx(labels[across][0], abs=0.11)
        assert y == pytest.approx(labels[up][1] - 3.5, abs=0.11)
    assert points[1][1] == pytest.approx((points[0][1] + points[2][1]) / 2, abs=0.11)
    # A decade is as far as the next.
    assert points[0][2] - points[2][2] == pytest.approx(points[2][2] - points[1][2], abs=0.21)


def test_numbers_without_a_place_leave_gaps():
    nan = float("nan")
    svg = curves({"y": ([0, 1, 2, 3, 4], [1.0, 2.0, nan, 0.0, 3.0])}, log_y=True)
    assert [kind for kind, _, _ in numbers_of(svg)] == ["M", "L", "M"] and svg.count("<circle") == 1
    assert "nan" not in svg and "inf" not in svg
    for values in ([nan, nan], [0.0, 0.0], [5.0, 5.0], [float("inf"), 1.0], [1e-300, 1e300]):
        for log in (False, True):
            shown = curves({"y": ([0, 1], values)}, log_y=log)
            assert "nan" not in shown and "inf" not in shown
    assert curves({}).startswith("<svg") and curves({"y": ([], [])}).startswith("<svg")


@given(low=st.floats(-1e6, 1e6), size=st.floats(1e-3, 1e6))
def test_ticks_are_round_and_few(low, size):
    scale = Scale(low, low + size)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 7 and all(low - 1e-6 * size <= t <= low + size + 1e-6 * size for t in ticks)
    assert Scale(0.03, 400.0, log=True).ticks() == pytest.approx([0.1, 1, 10, 100])
    assert Scale(0.9, 12.0, log=True).ticks() == pytest.approx([1, 2, 5, 10])
    assert Scale.of([2.0]).place(2.0) == Scale.of([0.1], log=True).place(0.1) == pytest.approx(0.5)


def test_long_curves_are_thinned_by_means():
    from windvane.report.plots import _thinned

    x = [float(step) for step in range(100_003)]
    short_x, short_y = _thinned(x, [3 * step for step in x])
    assert len(short_x) == 400
    assert all(abs(b - 3 * a) < 1e-6 for a, b in zip(short_x, short_y))
    assert abs(sum(short_y) / 400 - 3 * sum(x) / len(x)) < 300
