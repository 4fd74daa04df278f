"""`papers` and `doctor`."""

import json

import pytest

from windvane import catalog
from windvane.cli.common.config import Config
from windvane.cli.common.console import print_table
from windvane.cli.doctor import checks


def test_papers_lists_every_system_once(windvane):
    lines = windvane("papers").stdout.splitlines()
    slugs = [line.split()[0] for line in lines[1:-1]]
    assert sorted(slugs) == sorted(system.slug for system in catalog.SYSTEMS)


@pytest.mark.parametrize("state", ["works", "planned"])
def test_papers_of_one_state(windvane, state):
    rows = json.loads(windvane("papers", "--json", state=state).stdout)
    assert {row["slug"] for row in rows} == {s.slug for s in catalog.SYSTEMS if s.state == state}
    known = {row["slug"]: [part["callable"] for part in row["parts"]] for row in rows}
    assert all(known[slug] == [part.callable for part in catalog.get(slug).parts] for slug in known)
    if state == "works":
        assert "windvane.annotate.find_masks" in known["self-guided"]


def test_papers_cite_prints_bibtex(windvane):
    assert windvane("papers", cite="self-guided").stdout.strip() == catalog.cite("self-guided").strip()


def answers(**broken):
    good = {
        "torch": {"version": "2.13.0", "threads": 1, "gpus": [], "mps": False},
        "torchvision": {"version": None},
        "diffusers": {"version": "0.42.1"},
        "transformers": {"version": "5.23.0"},
    }
    return good | broken


def test_doctor_finds_nothing_wrong_where_nothing_is(windvane, monkeypatch, tmp_path):
    monkeypatch.setattr(checks, "probe", lambda code: answers())
    result = windvane("doctor", folder=tmp_path)
    assert result.exit_code == 0, result.output
    assert "BROKEN" not in result.output


def test_doctor_names_a_broken_torchvision_and_the_cure(windvane, monkeypatch, tmp_path):
    error = {"error": "RuntimeError: operator torchvision::nms does not exist"}
    monkeypatch.setattr(checks, "probe", lambda code: answers(torchvision=error))
    result = windvane("doctor", folder=tmp_path)
    assert result.exit_code == 1
    assert "torchvision::nms" in result.output and "pip uninstall torchvision" in result.output


def test_doctor_survives_an_import_that_kills_python():
    found = checks.probe('print(\'{"name": "torch", "version": "1"}\', flush=True)\nimport os; os._exit(9)')
    assert found["torch"] == {"version": "1"}
    assert "code 9" in checks._error("diffusers", found)


def test_doctor_sees_a_folder_that_cannot_be_written(windvane, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setattr(checks, "probe", lambda code: answers())
    monkeypatch.setenv("WINDVANE_CACHE", str(blocked / "cache"))
    rows = json.loads(windvane("doctor", "--json", folder=tmp_path).stdout)
    cache = next(row for row in rows if row["name"] == "cache")
    assert cache["state"] == "bad" and "WINDVANE_CACHE" in cache["fix"]


def test_doctor_compares_versions_as_numbers(monkeypatch):
    monkeypatch.setattr(
        checks.importlib.metadata, "requires", lambda name: ["torch>=2.5", "rich>=13.7; extra == 'x'"]
    )
    monkeypatch.setattr(checks.importlib.metadata, "version", lambda name: "2.10.1+cpu")
    assert checks._packages().state == "ok"
    monkeypatch.setattr(checks.importlib.metadata, "version", lambda name: "2.4.9")
    assert checks._packages().state == "bad"


def test_doctor_imports_diffusers_only_when_asked(monkeypatch, tmp_path):
    programs = []
    monkeypatch.setattr(checks, "probe", lambda code: programs.append(code) or answers())
    checks.examine(tmp_path)
    checks.examine(tmp_path, imports=True)
    assert [program.splitlines()[0] for program in programs] == ["IMPORTS = False", "IMPORTS = True"]
    watch = "\nimport sys; print(json.dumps({'name': 'seen', 'heavy': sorted(HEAVY & set(sys.modules))}))"
    heavy = "\nHEAVY = {'diffusers', 'transformers', 'peft', 'scipy'}"
    monkeypatch.undo()
    found = checks.probe(programs[0] + heavy + watch)
    assert found["seen"]["heavy"] == [] and found["diffusers"]["imported"] is False


def test_a_table_in_a_pipe_has_one_line_a_row(capsys):
    print_table(["name", "n"], [["a long name " * 30, "1"], ["b", "22"]], right=[1])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and len({len(line) for line in lines}) == 1


def test_settings_lists_every_name_with_its_meaning(windvane):
    def leaves(tree, before=""):
        for name, value in tree.items():
            yield from leaves(value, f"{before}{name}.") if isinstance(value, dict) else [f"{before}{name}"]

    lines = windvane("settings").stdout.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [
        name for name in leaves(Config().model_dump()) if "." in name
    ]
    assert all(len(line.split()) > 2 for line in lines), "a setting has no meaning"


def test_settings_shows_a_preset_and_refuses_what_is_no_section(windvane, refused):
    row = next(
        line for line in windvane("settings", "train", preset="cifar").stdout.splitlines() if ".flip" in line
    )
    assert row.split()[1] == "true"
    assert "did you mean 'train'" in refused("settings", "trian")
