import json
import os
import subprocess
import sys

import pytest

from windvane import files


class Killed(BaseException):
    """Stands for the process dying at the next rename."""


KIND = files.FolderKind("a version", {"version.json": ("format",)}, ("a.txt", "nested/*.txt"))


def write_version(folder, text):
    with files.atomic_folder(folder, KIND) as temporary:
        (temporary / "version.json").write_text('{"format": 1}')
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


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_permissions_are_the_usual_ones_whatever_the_writer_gives(tmp_path, umask):
    """As safetensors does, whose files nobody else might read beside a JSON file that all may."""

    def write(path):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))

    before = os.umask(umask)
    try:
        (tmp_path / "plain").write_text("")
        with files.atomic_file(tmp_path / "own.bin") as temporary:
            assert not temporary.exists()
            write(temporary)
        with files.atomic_folder(tmp_path / "own", KIND) as temporary:
            write(temporary / "a.txt")
            (temporary / "nested").mkdir()
            write(temporary / "nested" / "b.txt")
    finally:
        os.umask(before)
    modes = {path.stat().st_mode for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {(tmp_path / "plain").stat().st_mode}
    assert sorted(os.listdir(tmp_path / "own")) == ["a.txt", "nested"]


def test_json_refuses_what_other_readers_cannot_parse(tmp_path):
    with pytest.raises(ValueError):
        files.atomic_write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert os.listdir(tmp_path) == []


def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "model"
    write_version(target, "one")
    (target / "nested" / "only-in-one.txt").write_text("")
    write_version(target, "two")
    assert (target / "nested" / "b.txt").read_text() == "two"
    assert not (target / "nested" / "only-in-one.txt").exists()
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("renames", range(3))
def test_killed_at_any_rename_one_complete_version_survives(tmp_path, monkeypatch, renames):
    target = tmp_path / "model"
    write_version(target, "one")
    temporary = tmp_path / "prepared"
    write_version(temporary, "two")
    real, done = os.rename, []

    def rename(source, destination):
        if len(done) == renames:
            raise Killed
        done.append(destination)
        real(source, destination)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(Killed):
        files.replace_folder(temporary, target, KIND)
    monkeypatch.setattr(os, "rename", real)
    survivor = files.recover_folder(target)
    # Only from the third rename on is the old version out of the way, and then the new one is complete.
    assert (survivor / "a.txt").read_text() == ("two" if renames == 2 else "one")
    write_version(target, "three")
    assert (target / "a.txt").read_text() == "three"
    assert {name for name in os.listdir(tmp_path) if name != "prepared"} == {"model"}


def test_replace_folder_names_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        files.replace_folder(tmp_path / "nowhere", tmp_path / "model", KIND)


def tree(folder):
    """Everything under a folder with its contents, to compare before and after."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def foreign(folder, what):
    """A folder of the user's, which nothing may take the place of."""
    if what == "a file in its place":
        folder.write_text("mine")
        return
    folder.mkdir()
    if what == "photographs":
        (folder / "cat").mkdir()
        (folder / "cat" / "0.png").write_bytes(b"picture")
    elif what == "an empty folder inside":
        (folder / "wanted").mkdir()
    elif what == "files of the same names":
        (folder / "a.txt").write_text("mine")
    elif what == "a mark of another maker":
        (folder / "version.json").write_text('{"images": []}')
    elif what == "a mark that is no object":
        (folder / "version.json").write_text("[1]")
    elif what == "a damaged mark":
        (folder / "version.json").write_text('{"form')
    else:
        write_version(folder, "old")
        if what == "a version and a file":
            (folder / "notes.txt").write_text("mine")
        elif what == "a version and a link":
            (folder / "link").symlink_to(folder.parent)
        elif what == "a version and a file in a folder":
            (folder / "nested" / "c.png").write_text("mine")


FOREIGN = [
    "a file in its place", "photographs", "an empty folder inside", "files of the same names",
    "a mark of another maker", "a mark that is no object", "a damaged mark", "a version and a file",
    "a version and a link", "a version and a file in a folder",
]  # fmt: skip


@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_not_of_the_kind_is_never_replaced(tmp_path, what):
    """Neither by a block, nor by a folder that was ready; and the refused block does not begin."""
    target = tmp_path / "target"
    foreign(target, what)
    temporary = tmp_path / "prepared"
    write_version(temporary, "new")
    before = tree(tmp_path)
    with pytest.raises(ValueError, match="target"), files.atomic_folder(target, KIND):
        raise AssertionError("begun")
    with pytest.raises(ValueError, match="target"):
        files.replace_folder(temporary, target, KIND)
    assert tree(tmp_path) == before


def test_what_came_while_the_block_ran_stays(tmp_path):
    target = tmp_path / "target"
    with pytest.raises(ValueError, match="mine.txt"), files.atomic_folder(target, KIND) as temporary:
        (temporary / "a.txt").write_text("new")
        target.mkdir()
        (target / "mine.txt").write_text("mine")
    assert tree(tmp_path) == {"target": None, "target/mine.txt": b"mine"}


def test_the_refusal_names_what_is_there_and_what_to_do(tmp_path):
    target = tmp_path / "photos"
    target.mkdir()
    for number in range(5):
        (target / f"{number}.png").write_text("")
    with pytest.raises(
        ValueError, match=r"photos holds 0\.png, 1\.png, 2\.png and 2 more: no part of a version"
    ):
        KIND.check(target)
    with pytest.raises(ValueError, match="name a missing or empty folder"):
        KIND.check(target)


def test_empty_folders_and_litter_may_be_replaced(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    write_version(target, "one")
    (target / ".DS_Store").write_text("")
    (target / f".a.1-00{files._MARK}.txt").write_text("half")
    write_version(target, "two")
    assert (target / "a.txt").read_text() == "two"
    assert not (target / ".DS_Store").exists()


def test_the_folder_one_is_in_is_refused_by_its_name(tmp_path, monkeypatch):
    """Its replacement would pull it away from under the process, and from under the user's shell."""
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    for path in (".", "..", inside, "./"):
        with pytest.raises(ValueError, match="the folder this process works in"):
            write_version(path, "one")
    assert os.listdir(tmp_path) == ["inside"] and os.listdir(inside) == []
    write_version("here", "one")
    write_version("../beside/.", "one")
    assert os.listdir(inside) == ["here"] and sorted(os.listdir(tmp_path)) == ["beside", "inside"]


def test_a_link_to_a_folder_stays_and_leads_to_the_new_version(tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "disk")
    for text in ("one", "two"):
        write_version(link, text)
        assert link.is_symlink() and (tmp_path / "disk" / "a.txt").read_text() == text
    os.rename(tmp_path / "disk", tmp_path / ".disk.windvane-old")  # as a killed process leaves it
    assert (files.recover_folder(link) / "a.txt").read_text() == "two"


def test_only_whole_folders_of_the_kind_are_owned(tmp_path):
    write_version(tmp_path / "own", "one")
    assert KIND.owns(tmp_path / "own")
    (tmp_path / "own" / "b.txt").write_text("")
    (tmp_path / "empty").mkdir()
    assert not any(KIND.owns(tmp_path / name) for name in ("own", "empty", "missing"))


def test_clear_temporary_removes_what_dead_writers_left_and_nothing_else(tmp_path):
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True)
    dead = child.stdout.decode().strip()
    (tmp_path / ".hidden").write_text("")
    (tmp_path / ".users.old").write_text("")
    (tmp_path / ".model.windvane-old").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / ".lost.windvane-old").mkdir()
    for path in (tmp_path / "a.json", tmp_path / "b"):
        mine = files.temporary_name(path)
        leftover = mine.with_name(mine.name.replace(str(os.getpid()), dead))
        leftover.mkdir() if path.suffix == "" else leftover.write_text("half")
    mine.mkdir()
    files.clear_temporary(tmp_path)
    assert set(os.listdir(tmp_path)) == {".hidden", ".users.old", "model", "lost", mine.name}
