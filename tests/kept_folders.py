"""What every saver of a folder owes its user: it replaces its own folders, and nothing else."""

import shutil

import pytest


def contents(place):
    """Everything at a place with its bytes, to compare before and after."""
    if place.is_file():
        return place.read_bytes()
    return {
        path.relative_to(place).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(place.rglob("*"))
    }


def assert_replaces_only_its_own(save, place):
    """``save(path)`` fills missing and empty folders, renews its own, and refuses all others untouched."""
    own, empty = place / "own", place / "empty"
    empty.mkdir(parents=True)
    for path in (own, own, empty):
        save(path)
        assert any(path.iterdir())
    for number, (path, named) in enumerate(_foreign(own, place)):
        before = contents(path)
        with pytest.raises(ValueError, match="name a"):
            save(path)
        assert contents(path) == before, (number, named)
        with pytest.raises(ValueError, match=named):
            save(path)
    assert not [path.name for path in place.iterdir() if path.name.startswith(".")]


def _foreign(own, place):
    """Folders that are none of its own, with what their refusal must name."""
    photos = place / "photos"
    (photos / "cat").mkdir(parents=True)
    (photos / "cat" / "0.png").write_bytes(b"picture")
    yield photos, "cat/0.png"
    file = place / "picture.png"
    file.write_bytes(b"picture")
    yield file, "is a file"
    for number, folder in enumerate([own, *(path for path in own.rglob("*") if path.is_dir())]):
        mixed = place / f"mixed-{number}"
        shutil.copytree(own, mixed)
        (mixed / folder.relative_to(own) / "notes.txt").write_text("mine")
        yield mixed, "notes.txt"
    run = place / "run"
    shutil.copytree(own, run)
    (run / "metrics.jsonl").write_text("{}")
    yield run, "metrics.jsonl"
    # The same names, but the files are another program's.
    names = place / "names"
    shutil.copytree(own, names)
    for path in names.rglob("*"):
        if path.is_file():
            path.write_text('{"made": "by another"}')
    yield names, "of this library"
