import json
import os
import subprocess
import sys

import pytest

from windvane import files


class Killed(BaseException):
    """Stands for the process dying at the next rename."""


def write_version(folder, text):
    with files.atomic_folder(folder) as temporary:
        (temporary / "a.txt").write_text(text)
        (temporary / "nested").mkdir()
        (temporary / "nested" / "b.txt").write_text(text)


def test_an_error_while_writing_leaves_the_old_file_and_no_rubbish(tmp_path):
    target = tmp_path / "value.json"
    files.atomic_write_json(target, {"a": 1})
    with pytest.raises(RuntimeError), files.atomic_file(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(target.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["value.json"]


def test_the_old_file_is_readable_until_the_new_one_is_complete(tmp_path):
    target = tmp_path / "text.txt"
    files.atomic_write_text(target, "old")
    with files.atomic_file(target) as temporary:
        temporary.write_text("new")
        assert temporary.suffix == ".txt"
        assert target.read_text() == "old"
    assert target.read_text() == "new"


def test_json_refuses_what_other_readers_cannot_parse(tmp_path):
    with pytest.raises(ValueError):
        files.atomic_write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert os.listdir(tmp_path) == []


def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "model"
    write_version(target, "one")
    (target / "only-in-one").write_text("")
    write_version(target, "two")
    assert (target / "nested" / "b.txt").read_text() == "two"
    assert not (target / "only-in-one").exists()
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("renames", range(3))
def test_killed_at_any_rename_one_complete_version_survives(tmp_path, monkeypatch, renames):
    target = tmp_path / "model"
    write_version(target, "one")
    temporary = tmp_path / "prepared"
    temporary.mkdir()
    (temporary / "a.txt").write_text("two")
    real, done = os.rename, []

    def rename(source, destination):
        if len(done) == renames:
            raise Killed
        done.append(destination)
        real(source, destination)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(Killed):
        files.replace_folder(temporary, target)
    monkeypatch.setattr(os, "rename", real)
    survivor = files.recover_folder(target)
    # Only from the third rename on is the old version out of the way, and then the new one is complete.
    assert (survivor / "a.txt").read_text() == ("two" if renames == 2 else "one")
    write_version(target, "three")
    assert (target / "a.txt").read_text() == "three"
    assert {name for name in os.listdir(tmp_path) if name != "prepared"} == {"model"}


def test_replace_folder_names_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        files.replace_folder(tmp_path / "nowhere", tmp_path / "model")


def test_clear_temporary_removes_what_dead_writers_left_and_nothing_else(tmp_path):
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True)
    dead = child.stdout.decode().strip()
    (tmp_path / ".hidden").write_text("")
    (tmp_path / ".users.old").write_text("")
    (tmp_path / ".model.windvane-old").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / ".lost.windvane-old").mkdir()
    for path in (tmp_path / "a.json", tmp_path / "b"):
        mine = files._temporary_name(path)
        leftover = mine.with_name(mine.name.replace(str(os.getpid()), dead))
        leftover.mkdir() if path.suffix == "" else leftover.write_text("half")
    mine.mkdir()
    files.clear_temporary(tmp_path)
    assert set(os.listdir(tmp_path)) == {".hidden", ".users.old", "model", "lost", mine.name}
