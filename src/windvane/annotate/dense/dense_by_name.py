"""Dense features by a short text, as the command line and configurations name them."""

import re
from pathlib import Path

from windvane.annotate.dense.dense_extractor import DenseExtractor
from windvane.annotate.features.extractor import Images
from windvane.annotate.features.fitting import learnt
from windvane.annotate.work import Work

KNOWN = "restoration[:STEPS], patches[:SIZE], encoder[:STEPS], hub:NAME[@ENLARGE]"
_ENLARGED = re.compile(r"(?P<name>.+)@(?P<times>\d+(?:\.\d+)?)")


def dense_kind(text: str) -> tuple[str, str]:
    """Kind and argument of a text.

    Raises:
        ValueError: an unknown kind, or an argument that is no number where one is needed.
    """
    kind, _, rest = text.partition(":")
    known = kind in ("restoration", "patches", "encoder", "hub") and (kind != "hub" or rest)
    if not known or (kind != "hub" and rest and not (rest.isdigit() and int(rest) > 0)):
        raise ValueError(f"unknown dense features {text!r}; known: {KNOWN}")
    return kind, rest


def hub_name(text: str) -> tuple[str, float | None]:
    """Name and enlargement of "NAME" or "NAME@ENLARGE"; a folder may have any name."""
    found = None if Path(text).is_dir() else _ENLARGED.fullmatch(text)
    return (text, None) if found is None else (found["name"], float(found["times"]))


def dense_features(
    text: str, data: Images, work: Work, *, seed: int = 0, flip: bool = False
) -> DenseExtractor:
    """The features a text names, learnt on ``data`` where they are learnt.

    "restoration" learns one vector a pixel by restoring the images, "encoder" takes maps of the
    self-supervised encoder, "patches" are raw pixels, "hub:NAME" are the keys of the last attention layer of
    a vision transformer, which is given the images as large as makes 14 patches a side; "hub:NAME@4" enlarges
    them four times instead, and "hub:NAME@1" not at all.

    Args:
        text: see above; a number after a colon is the training steps, for "patches" the side.
        data: the images.
        work: where to train and compute, the CPU if it does not say.
        seed: of what is learnt.
        flip: mirror images count as the same, for "encoder".

    Raises:
        ValueError: an unknown text, or a model that cannot be loaded.
    """
    kind, rest = dense_kind(text)
    device = "cpu" if work.device is None else work.device
    if kind == "patches":
        from windvane.annotate.dense.patches import Patches

        return Patches(int(rest or 3), channels=data.shape[0])
    if kind == "hub":
        from windvane.annotate.dense.hub_patches import HubPatches

        name, enlarge = hub_name(rest)
        shape = (data.shape[-2], data.shape[-1]) if enlarge is None else None
        return HubPatches(f"hub:{name}", enlarge=enlarge, shape=shape).to(device)
    if kind == "encoder":
        from windvane.annotate.dense.encoder_maps import EncoderMaps
        from windvane.annotate.features.selfsup import SelfSup

        encoder = SelfSup(seed=seed, flip=flip, steps=int(rest)) if rest else SelfSup(seed=seed, flip=flip)
        # The same one as that of image-level features, so it is looked for in the same place.
        return EncoderMaps(learnt(encoder, data, work)).to(device)
    from windvane.annotate.dense.restoration import Restoration

    restoration = Restoration(seed=seed, steps=int(rest)) if rest else Restoration(seed=seed)
    kinds = {Restoration.kind: Restoration.restore}
    return learnt(restoration, data, work, kinds).to(device)
