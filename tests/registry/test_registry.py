"""Rows lead to what they say; names of other packages join, and nothing of a file is imported."""

import importlib.metadata
import subprocess
import sys
from types import SimpleNamespace

import pytest

from windvane.networks import Network
from windvane.process import Process
from windvane.registry import KINDS, Row, entries, find, known_names, lookup, plugins, register
from windvane.samplers import Sampler

BASES = {"sampler": Sampler, "process": Process, "network": Network}


@pytest.fixture
def own_rows(monkeypatch):
    """Rows that are registered within a test go with it."""
    monkeypatch.setattr(lookup, "_others", {})


@pytest.mark.parametrize("row", [row for kind in KINDS for row in entries(kind)], ids=lambda row: row.name)
def test_every_row_leads_to_its_kind(row):
    found = row.load()
    assert callable(found) and row.help and row.help[-1] != "."
    if row.kind in BASES:
        assert issubclass(found, BASES[row.kind])
    if row.kind in ("process", "network"):
        assert found.kind == row.stored
    assert set(row.settings) <= set(row.options())
    assert find(row.kind, row.name) is row and all(find(row.kind, other) is row for other in row.also)


def test_names_are_looked_at_without_importing_anything_heavy():
    code = (
        "import sys; from windvane.registry import KINDS, known_names\n"
        "assert all(known_names(kind) for kind in KINDS)\n"
        "print(*{name.partition('.')[0] for name in sys.modules} & {'torch', 'numpy', 'scipy', 'pydantic'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_options_have_the_defaults_of_the_name():
    options = find("sampler", "dpm++3m").options()
    assert options["order"].default == 3 and options["order"].type == "int" and not options["order"].required
    assert find("process", "vp_table").options()["alphas_cumprod"].required
    assert find("sampler", "ddim").make(eta=0.5).eta == 0.5


def test_unknown_names_and_kinds_are_told_what_there_is():
    with pytest.raises(ValueError, match="there is no sampler 'dpm'; did you mean 'ddpm'. Known: ddpm, ddim"):
        find("sampler", "dpm")
    for wrong in (3, None, ["ddim"], "os:system"):
        with pytest.raises(ValueError, match="there is no sampler"):
            find("sampler", wrong)
    with pytest.raises(ValueError, match="unknown kind 'colour'; known: sampler"):
        known_names("colour")
    with pytest.raises(ValueError, match="is a 'module:Class'"):
        Row("sampler", "x", "nowhere", "nothing")
    with pytest.raises(ValueError, match="the sampler 'x' cannot be opened: No module named 'not_there'"):
        Row("sampler", "x", "not_there:Thing", "nothing").load()


def test_a_name_is_taken_once(own_rows):
    mine = Row("sampler", "mine", "tests.registry.test_registry:Sampler", "a sampler")
    assert register(mine) is mine and register(mine) is mine
    assert known_names("sampler")[-1] == "mine"
    with pytest.raises(ValueError, match="'mine' is taken by tests.registry"):
        register(Row("sampler", "mine", "elsewhere:Thing", "another"))
    with pytest.raises(ValueError, match="'ddim' is taken by windvane.samplers.ancestral:DDIM"):
        register(Row("sampler", "ddim", "elsewhere:Thing", "another"))


def point(name, value):
    def load():
        if isinstance(value, Exception):
            raise value
        return value

    return SimpleNamespace(name=name, value=f"{name}.rows:ROWS", load=load)


def test_rows_of_other_packages_join_and_broken_ones_are_left_out(own_rows, monkeypatch):
    good = Row("grid", "theirs", "windvane.grids:uniform", "even in time")
    points = [
        point("b-good", [good]),
        point("a-broken", ImportError("no module named\nrows")),
        point("c-wrong", ["ddim"]),
        point("d-taken", [Row("grid", "edm", "theirs:edm", "another"), Row("grid", "d", "theirs:d", "one")]),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points if group == plugins.GROUP else [])
    monkeypatch.setattr(lookup, "_plugins_read", False)
    with pytest.warns(plugins.PluginWarning) as told:
        names = known_names("grid")
    assert names[-2:] == ("theirs", "d") and find("grid", "theirs").load().__name__ == "uniform"
    said = [str(one.message) for one in told]
    assert (
        len(said) == 3
        and "'a-broken' (a-broken.rows:ROWS) is left out: ImportError: no module named rows" in said[0]
    )
    assert "list of windvane.registry.Row" in said[1] and "'edm' is taken" in said[2] and len(said) == 3


def test_a_name_of_the_librarys_own_reads_no_plugin(own_rows, monkeypatch):
    monkeypatch.setattr(lookup, "_plugins_read", False)
    monkeypatch.setattr(plugins, "entry_points", lambda group: pytest.fail("plugins were read"))
    assert find("sampler", "ddim").name == "ddim"


def test_the_group_is_the_one_that_packages_name():
    assert plugins.GROUP == "windvane.plugins" and plugins.entry_points is importlib.metadata.entry_points
