"""What finds boxes or masks, by the settings of the section."""

from functools import partial
from typing import TYPE_CHECKING, Any

from windvane.cli.common.annotations.labels import check_features, features_of
from windvane.cli.common.datasets import usable_cache
from windvane.cli.common.sections import AnnotateSection

if TYPE_CHECKING:
    from windvane.annotate import Group
    from windvane.annotate.dense import DenseExtractor
    from windvane.annotate.regions.masks import PatchClusters, Stego
    from windvane.annotate.regions.robustness import Find
    from windvane.data import ImageData

#: The controls of boxes and masks; the others are of ids.
REGION_CONTROLS = ("shuffled", "moved")


def check_regions(section: AnnotateSection) -> None:
    """Refuse what cannot work before anything is loaded: unknown features, controls of ids, a missing CRF."""
    from windvane.annotate.dense.dense_by_name import KNOWN, dense_kind
    from windvane.annotate.regions.masks import DenseCRF

    if section.dense.startswith("denoiser:") and section.dense != "denoiser:":
        check_features(section.dense)
    else:
        try:
            dense_kind(section.dense)
        except ValueError as error:  # here there are those of a run, too
            raise ValueError(str(error).replace(KNOWN, f"{KNOWN}, denoiser:RUN")) from None
    if section.control is not None and section.control not in REGION_CONTROLS:
        raise ValueError(
            f"--control {section.control} is for clusters; boxes and masks have "
            f"{' and '.join(REGION_CONTROLS)}"
        )
    if section.crf:
        if section.masks is None or section.segmenter != "stego" or section.coco is not None:
            raise ValueError("annotate.crf refines the masks of STEGO: --masks K --method stego")
        try:
            DenseCRF().check()
        except ValueError as error:  # the library speaks of arguments, a user of this room of settings
            raise ValueError(str(error).replace("crf=None", "--set annotate.crf=false")) from None


def denoiser_maps(section: AnnotateSection, *, flip: bool = False, device: str = "cpu") -> "DenseExtractor":
    """The maps of the user's own denoiser that the settings name, `denoiser:RUN`."""
    from windvane.annotate import DenoiserFeatures
    from windvane.annotate.dense import DenoiserMaps

    features = features_of(section.dense, seed=section.seed, flip=flip, device=device)
    assert isinstance(features, DenoiserFeatures)
    return DenoiserMaps(features)


def _dense(
    section: AnnotateSection,
    data: "ImageData",
    *,
    flip: bool,
    device: str,
    progress: bool,
    group: "Group",
) -> "DenseExtractor":
    """The dense features of the settings: maps of the user's own denoiser, or what the library names."""
    from windvane.annotate.dense.dense_by_name import dense_features

    if section.dense.startswith("denoiser:"):
        return denoiser_maps(section, flip=flip, device=device)
    return dense_features(
        section.dense,
        data,
        seed=section.seed,
        flip=flip,
        device=device,
        cache=usable_cache("annotate"),
        group=group,
        progress=progress,
    )


def finder(
    section: AnnotateSection,
    data: "ImageData",
    *,
    flip: bool,
    device: str,
    progress: bool,
    group: "Group | None" = None,
) -> "Find":
    """What finds boxes or masks in any images, learnt on ``data`` where something is learnt."""
    from windvane.annotate import Group, find_boxes, find_masks

    group = Group() if group is None else group
    mirrored = flip if section.flip is None else section.flip
    dense = _dense(section, data, flip=mirrored, device=device, progress=progress, group=group)
    how: dict[str, Any] = {
        "batch_size": section.batch_size,
        "device": device,
        "cache": usable_cache("annotate"),
        "group": group,
        "progress": progress,
    }
    if section.masks is None:
        # The published method takes the keys of a transformer as they are; other features are centred.
        centre = not section.dense.startswith("hub:")
        return partial(find_boxes, extractor=dense, method=section.method, centre=centre, **how)
    segmenter = _segmenter(section, dense).fit(data, **how)
    return partial(find_masks, segmenter=segmenter, **how)


def _segmenter(section: AnnotateSection, dense: "DenseExtractor") -> "PatchClusters | Stego":
    """What finds masks, not fitted yet."""
    from windvane.annotate.regions.masks import DenseCRF, PatchClusters, Stego

    assert section.masks is not None
    # The length of restoring features is the contrast, which says where the ink is; of others it says little.
    lift = 0.3 if section.dense.startswith("restoration") else None
    if section.segmenter == "stego":
        return Stego(
            dense,
            section.masks,
            steps=section.steps,
            lift=lift,
            # The published method averages whatever the images are; that is about places, not about ids.
            flip=section.flip is not False,
            crf=DenseCRF() if section.crf else None,
            seed=section.seed,
        )
    # Raw patches are clustered as they are.
    return PatchClusters(dense, section.masks, seed=section.seed, normalise=lift is not None, lift=lift)
