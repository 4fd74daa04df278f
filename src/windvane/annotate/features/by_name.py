"""Feature extractors by a short text, as the command line and configurations name them."""

from typing import Any

from windvane.annotate.features.extractor import FeatureExtractor
from windvane.annotate.features.hub_encoder import HubEncoder
from windvane.annotate.features.pixels import PCA, Pixels
from windvane.annotate.features.selfsup import SelfSup
from windvane.registry import find, known_names
from windvane.yaml_text import read_tree

_OWN = ("pixels", "pca", "selfsup")
_KNOWN = "'pixels', 'pca', 'pca:COMPONENTS', 'selfsup', 'selfsup:STEPS', 'hub:NAME' or 'hub:FOLDER'"


def features_from(text: str, *, seed: int = 0, flip: bool = False) -> FeatureExtractor:
    """The extractor a text names; fitted ones come unfitted.

    Args:
        text: "pixels", "pca" or "pca:30" (components), "selfsup" or "selfsup:1000" (training steps),
            "hub:facebook/dinov2-small" or "hub:" and a local folder.
        seed: of a self-supervised encoder.
        flip: whether mirror images count as the same for a self-supervised encoder.

    Raises:
        ValueError: an unknown text.
    """
    kind, _, rest = text.partition(":")
    if kind == "hub" and rest:
        return HubEncoder(text)
    if kind == "pixels" and not rest:
        return Pixels()
    if kind == "pca" and (not rest or rest.isdecimal()):
        return PCA(int(rest)) if rest else PCA()
    if kind == "selfsup" and (not rest or rest.isdecimal()):
        return SelfSup(steps=int(rest), seed=seed, flip=flip) if rest else SelfSup(seed=seed, flip=flip)
    if kind in known_names("features") and kind not in _OWN:
        return _registered(kind, rest, {"seed": seed, "flip": flip})
    raise ValueError(f"unknown features {text!r}; known: {_KNOWN}")


def _registered(kind: str, rest: str, common: dict[str, Any]) -> FeatureExtractor:
    """Features of another package: ``name`` or ``name:option=value,...``; seed and flip if it has them."""
    row = find("features", kind)
    known = row.options()
    given = {name: value for name, value in common.items() if name in known}
    for part in rest.split(",") if rest else ():
        name, equals, value = part.partition("=")
        if not equals or name not in known:
            raise ValueError(f"features {kind!r} has the options {', '.join(known) or 'none'}, got {part!r}")
        given[name] = read_tree(value)
    return row.make(**given)
