"""What the folders of annotations and of fitted features consist of; nothing else is replaced by one."""

from windvane.files import FolderKind

_FITTED = ("extractor.json", "extractor.safetensors")
_IDS = ("annotation.json", "vector.safetensors", *_FITTED)
_REGIONS = ("regions.safetensors", *(f"{part}/{name}" for part in ("rule", "dense") for name in _FITTED))
_BESIDE = tuple(f"clusters/{name}" for name in _IDS)
#: What `windvane annotate` and `windvane report` add.
_COMMANDS = ("config.yaml", "scan.json", "report.json", "report.html", "montage.png")

#: Ids, boxes or masks: one may take the place of another, as `windvane annotate` makes each of them.
ANNOTATION = FolderKind(
    "an annotation",
    {
        "annotation.json": ("format", "n", "data", "signals"),
        "regions.json": ("format", "kind", "n", "made_by", "data"),
    },
    (*_IDS, *_REGIONS, *_BESIDE, *_COMMANDS),
)
EXTRACTOR = FolderKind("a fitted extractor", {"extractor.json": ("kind", "name", "settings")}, _FITTED)
