"""Names of classes from a list in a file: one a line, or `id,name`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from windvane.data.images import ImageData
from windvane.data.scan import printable

_HEADS = ("id", "index", "label", "class")
_LARGEST = 16 << 20
_NO_LABELS = 'the data have no labels to name; labels="folders" takes sub-folders as classes'


def with_names(data: ImageData, path: str | Path) -> ImageData:
    """The same data, its labels named by the list at `path`; what the list says goes before other names.

    Every line is the name of a class, the first one that of class 0; or every line is `id,name`, where the
    id is the number of the class, or what the data call it: the name of its folder, its text in the column.
    A name may hold commas, and a first line such as `id,name` is left out. Names one a line go to folders
    that are numbers in the order of the numbers, and else in the data's own order, which is alphabetical for
    folders and texts. A list may have more classes than the data.

    Raises:
        ValueError: data without labels, or a list that leaves a class without a name.
    """
    if data.labels is None:
        raise ValueError(f"{printable(str(path))} names classes, and {_NO_LABELS}")
    lines = _lines(Path(path))
    own = data.label_names
    count = max(int(data.labels.max()) + 1, 0) if own is None else len(own)
    keyed = _keyed(lines, own, path)
    names = _in_order(lines, own, count, path) if keyed is None else _by_key(keyed, own, data, count, path)
    data.label_names, data.origin = names, None
    data.names_from = f"the list {printable(Path(path).name)}"
    return data


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"{printable(str(path))} is larger than a list of names, {_LARGEST >> 20} MiB")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{printable(str(path))} is no text in UTF-8") from None
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ValueError(f"the list of names {printable(str(path))} cannot be read: {why}") from None
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if not any(lines):
        raise ValueError(f"{printable(str(path))} holds no names")
    return lines


def _keyed(lines: Sequence[str], own: Sequence[str] | None, path: str | Path) -> dict[str, str] | None:
    """id -> name where every line has an id; None for names one a line."""
    pairs = [tuple(part.strip() for part in line.partition(",")) for line in lines if line]
    if pairs[0][1] and pairs[0][0].lower() in _HEADS and pairs[0][0] not in (own or ()):
        pairs = pairs[1:]
    keys = {key for key, _, _ in pairs}
    known = own is not None and 2 * len(keys & set(own)) >= len(own)
    if not pairs or not all(comma for _, comma, _ in pairs):
        return None
    if not known and not all(key.isdecimal() for key in keys):
        return None
    found = {key: name.strip('"') for key, _, name in pairs}
    nameless = next((key for key, name in found.items() if not name), None)
    if nameless is not None:
        raise ValueError(f"{printable(str(path))} has an empty name for class {printable(nameless)}")
    if len(found) < len(pairs):
        twice = Counter(key for key, _, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{printable(str(path))} names class {printable(twice)} twice")
    return found


def _in_order(lines: Sequence[str], own: Sequence[str] | None, count: int, path: str | Path) -> list[str]:
    blank = next((k for k, line in enumerate(lines) if not line), None)
    if blank is not None:
        raise ValueError(f"line {blank + 1} of {printable(str(path))} is empty; a name a line, or id,name")
    if len(lines) < count or (own is not None and len(lines) != count):
        raise ValueError(
            f"{printable(str(path))} has {len(lines)} names, and the data have {count} classes"
            + ("" if own is None else f" ({', '.join(printable(name) for name in own[:5])}, ...)")
            + "; give each a line, or lines of id,name"
        )
    if own is None or not all(name.isdecimal() for name in own):
        return list(lines)
    names = [""] * count
    for line, k in zip(lines, sorted(range(count), key=lambda k: int(own[k]))):
        names[k] = line
    return names


def _by_key(
    keyed: dict[str, str], own: Sequence[str] | None, data: ImageData, count: int, path: str | Path
) -> list[str]:
    keys = list(own) if own is not None and any(name in keyed for name in own) else None
    counts = data.label_counts().tolist()
    names, lacking = [], []
    for k in range(count):
        key = str(k) if keys is None else keys[k]
        name = keyed.get(key)
        if name is None and (keys is not None or counts[k]):
            lacking.append(key)
        names.append(name or key)
    if lacking:
        raise ValueError(
            f"{printable(str(path))} has no name for class {', '.join(printable(key) for key in lacking[:5])}"
            + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
        )
    return names
