"""Whether the folders of a collection are classes, or albums, years, splits and the like."""

import re
from collections import Counter, defaultdict

#: A year or a date anywhere in the name, or a camera's own folder.
_DATE = re.compile(
    r"(?<!\d)(19|20)\d\d(?!\d)|(?<!\d)(19|20)\d{6}(?!\d)|(?<!\d)\d{1,2}[-._]\d{1,2}[-._]\d{2,4}(?!\d)"
    r"|^\d{3}[a-z_]{5}$|^dcim",
    re.IGNORECASE,
)
_MONTHS = "january february april june july september october november december"
_OCCASIONS = (
    "albums? holidays? vacations? trips? travels? birthdays? weddings? honeymoon anniversary christmas xmas "
    "easter halloween party parties family friends urlaub ferien geburtstag hochzeit weihnachten vacances "
    "anniversaire mariage noël vacaciones cumpleaños boda navidad vacanze compleanno matrimonio natale"
)
#: Words of albums, anywhere in a name.
_ALBUM = re.compile(
    rf"album|holiday|(?<![^\W_])({'|'.join(f'{_OCCASIONS} {_MONTHS}'.split())})(?![^\W_])", re.IGNORECASE
)
#: Whole names: heaps, the splits and parts of a data set, and numbered shares of one.
_PART = re.compile(
    r"(misc|miscellaneous|various|unsorted|to[ _-]?sort|backup|export|import|upload|download|screenshot"
    r"|untitled|new folder|camera (roll|uploads?)|saved pictures|whatsapp.*"
    r"|image|img|picture|photo|thumbnail|thumb|mask|annotation|label"
    r"|train|training|trainset|val|valid|validation|test|testing|testset|dev|holdout)s?( ?\(?\d+\)?)?"
    r"|(part|chunk|shard|batch|split|fold)[-_ ]?\d+",
    re.IGNORECASE,
)
_HEX = re.compile(r"[0-9a-f]{2}")
#: The names under which cameras and telephones file photographs, in their own capitals.
_CAMERA = re.compile(
    r"(IMG|DSC|DSCN|DSCF|_MG|_DSC|IMGP|CIMG|GOPR|DJI|MVIMG|PICT|SAM|HPIM|P\d)[_-]?\d{4,}"
    r"|(PXL|IMG|MVIMG|VID)[_-]?(19|20)\d{6}|(19|20)\d{6}[_-]\d{6}|Screenshot[_ ]"
)
_ALBUMS_FROM = 1 / 3
_LEAST_IMAGES, _MANY, _MANY_HEX = 2, 5, 16
_REPEATED = 0.1


def folder_labels(names: list[str]) -> tuple[list[int] | None, list[str] | None]:
    """Ids and names of the top-level folders of relative names; (None, None) for fewer than two folders."""
    tops = _tops(names)
    classes = sorted({top for top in tops if top is not None})
    if len(classes) < 2:
        return None, None
    ids = {name: k for k, name in enumerate(classes)}
    return [-1 if top is None else ids[top] for top in tops], classes


def why_no_classes(names: list[str]) -> str | None:
    """Why the top-level folders of relative names do not look like classes; None if they do.

    They do unless, in this order,

    - a third of their names or more have a year, a date or a month in them, or a word of albums such as
      "holiday" or "birthday", or are a camera's folder (DCIM, 100CANON);
    - with these more than half are heaps ("misc", "screenshots"), splits or parts of a data set ("train",
      "masks", "part-003");
    - there are sixteen or more, all called by two hexadecimal digits;
    - there are five or more, and half of them hold a single image;
    - three quarters of the images or more lie in none of them;
    - more than half of the images in them have the name that a camera gave them (IMG_1234.JPG,
      20190714_120301.jpg), and of these names at most a tenth is found in two folders: photographs put into
      albums as they came, where a data set counts anew in each folder or has names of its own.

    No picture is looked at: albums of other names that hold renamed files are not told from classes.
    """
    tops = _tops(names)
    counts = Counter(top for top in tops if top is not None)
    albums = [name for name in sorted(counts) if _DATE.search(name) or _ALBUM.search(name)]
    if albums and len(albums) >= _ALBUMS_FROM * len(counts):
        return f"{', '.join(albums[:3])} read like dates or albums"
    parts = [name for name in sorted(counts) if name in albums or _PART.fullmatch(name)]
    if 2 * len(parts) > len(counts):
        return f"{', '.join(parts[:3])} read like parts of a collection"
    if len(counts) >= _MANY_HEX and all(_HEX.fullmatch(name) for name in counts):
        return "they are called by two hexadecimal digits"
    if len(counts) >= _MANY and sorted(counts.values())[len(counts) // 2] < _LEAST_IMAGES:
        return "most hold a single image"
    if 4 * sum(counts.values()) < len(names):
        return "most images lie in none of them"
    return _as_they_came(names)


def _as_they_came(names: list[str]) -> str | None:
    """Why the names of the files say that photographs were put into albums."""
    inside = [name for name in names if "/" in name]
    places: dict[str, set[str]] = defaultdict(set)
    photographs = []
    for name in inside:
        file = name.rpartition("/")[2]
        if _CAMERA.match(file):
            photographs.append(file)
            places[file].add(name.split("/")[0])
    if 2 * len(photographs) <= len(inside):
        return None
    if sum(len(folders) > 1 for folders in places.values()) > _REPEATED * len(places):
        return None
    return f"most files have a camera's names, such as {photographs[0]}"


def _tops(names: list[str]) -> list[str | None]:
    return [name.split("/")[0] if "/" in name else None for name in names]
