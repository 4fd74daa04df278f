"""The catalogue: every system once, honest states, citations that BibTeX can read, a README that agrees."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from windvane import catalog
from windvane.catalog.__main__ import BEGIN, END, main, updated

ROOT = Path(__file__).parents[1]

SLUGS = """
artifactgen cdcd class-diffusion classifier-guidance-family conditional-image-leakage ctrl deediff dico
difficulty-curriculum diffmatch diffpose diffusion-classifier diffusion-tree-sampling dimr domain-studio
dreambooth elucd evodiff forward-models galaxy gfcg guided-distillation idiff-face inference-time-scaling
latent-flow-diffusion llia medical-survey overview-survey pcdm pfgmpp pixart-alpha ppap radd
score-implicit-matching sdm self-guided semantic-diffusion-guidance slight-corruption starflow
steered-diffusion t-stitch tsdiff unicon unified-masked-diffusion
""".split()
PAPERS = {paper.key: paper for system in catalog.SYSTEMS for paper in system.papers}


def resolve(name):
    """The object of a dotted name, whatever part of the name is the module."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def test_every_system_has_one_row():
    assert sorted(system.slug for system in catalog.SYSTEMS) == sorted(SLUGS)


@pytest.mark.parametrize("system", catalog.SYSTEMS, ids=lambda system: system.slug)
def test_a_row_says_everything_and_promises_only_what_exists(system):
    assert system.kind in catalog.KINDS
    assert system.gives.endswith(".") and system.limits.endswith(".")
    assert len(system.gives) <= 100, "the README's table needs short lines"
    assert "|" not in system.gives + system.title
    if system.state == "planned":
        assert (system.callable, system.test, system.reproduction) == (None, None, None)
        assert system.parts == ()
    else:
        assert system.state == "works"
        assert callable(resolve(system.callable)), system.callable
        assert (ROOT / system.test).is_file(), system.test
        assert (ROOT / system.reproduction).is_file(), system.reproduction
    for part in system.parts:
        assert part.gives.endswith(".") and callable(resolve(part.callable)), part
        assert (ROOT / part.test).is_file(), part
        assert part.reproduction is None or (ROOT / part.reproduction).is_file(), part


def test_self_guided_diffusion_is_more_than_clusters():
    row = catalog.get("self-guided")
    callables = {row.callable, *(part.callable.rpartition(".")[2] for part in row.parts)}
    assert {"find_boxes", "find_masks", "RegionConditions"} <= callables
    named = {row.reproduction, *(part.reproduction for part in row.parts)}
    names = ("self_guided", "self_guided_boxes", "self_guided_layouts")
    assert {f"reproductions/{name}.py" for name in names} <= named


@pytest.mark.parametrize("paper", PAPERS.values(), ids=PAPERS.keys())
def test_a_paper_can_be_cited(paper):
    assert 1998 <= paper.year <= 2026
    assert re.fullmatch(r"[a-z]+\d{4}[a-z0-9]+", paper.key), paper.key
    assert paper.arxiv is None or re.fullmatch(r"\d{4}\.\d{5}", paper.arxiv)
    assert paper.arxiv or paper.venue, "a reader must be able to find it"
    entry = paper.bibtex()
    assert entry.count("{") == entry.count("}")
    assert f"title = {{{{{paper.title}}}}}" in entry
    assert f"author = {{{' and '.join(paper.authors)}}}" in entry


def test_keys_of_papers_are_unique():
    keys = [paper.key for system in catalog.SYSTEMS for paper in system.papers]
    assert len(keys) == len(set(keys))


def test_cite_gives_the_paper_first_and_then_what_it_stands_on():
    entries = catalog.cite("guided-distillation").split("\n\n")
    assert [entry.split("{")[1].split(",")[0] for entry in entries] == [
        "meng2023distillation",
        "salimans2022progressive",
    ]
    assert "eprint = {2210.06462}" in catalog.cite("self-guided")
    assert catalog.cite("galaxy").startswith("@article{") and "journal = {ApJS}" in catalog.cite("galaxy")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("selfguided", "self-guided"),
        ("Dream-Booth", "dreambooth"),
        ("tstitch", "t-stitch"),
        ("raddd", "radd"),
    ],
)
def test_an_unknown_slug_is_answered_with_the_nearest(typed, meant):
    with pytest.raises(ValueError, match=f"unknown system '{typed}'; did you mean .*{meant}"):
        catalog.get(typed)


def test_a_slug_like_no_other_is_answered_with_the_list():
    with pytest.raises(ValueError, match="the catalogue has artifactgen, .*unified-masked-diffusion"):
        catalog.cite("zzzz")


def test_tables_hold_every_row():
    lines = catalog.table().splitlines()[2:]
    assert len(lines) == len(SLUGS)
    assert all(line.count("|") == 6 for line in lines), "a cell would be split by its own bar"
    assert catalog.table("tsv").count("\n") == len(SLUGS)
    assert {line.split()[0] for line in catalog.table("plain").splitlines()} == set(SLUGS)
    with pytest.raises(ValueError, match="unknown table format 'html'; use 'markdown'"):
        catalog.table("html")


def test_systems_that_work_come_first():
    states = [system.state for system in catalog.SYSTEMS]
    assert states == sorted(states, key=lambda state: state != "works")


def test_the_readme_has_the_current_table():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert updated(text) == text, "run: python -m windvane.catalog --update README.md"


def test_update_replaces_an_old_table_and_nothing_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n| old |\n{END}\nafter\n", encoding="utf-8")
    assert main(["--update", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}\n\n| System |") and text.endswith(f" |\n\n{END}\nafter\n")
    assert "old" not in text
    assert updated(text) == text


@pytest.mark.parametrize(
    "text", ["no markers", f"{BEGIN}", f"{END}\n{BEGIN}", f"{BEGIN}\n{END}\n{BEGIN}\n{END}"]
)
def test_update_refuses_a_file_without_its_markers(tmp_path, capsys, text):
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    assert main(["--update", str(page)]) == 2
    assert "once each" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == text


def test_the_catalogue_is_read_without_torch():
    program = "import sys, windvane.catalog; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
