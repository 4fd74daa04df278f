"""What finds boxes or masks, by the settings of the section."""

from functools import partial
from typing import TYPE_CHECKING, Any

from windvane.cli.common.annotations.labels import check_features, features_of
from windvane.cli.common.sections import AnnotateSection

if TYPE_CHECKING:
    from windvane.annotate.dense import DenseExtractor
    from windvane.annotate.regions.robustness import Find
    from windvane.annotate.work import Work
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


def _dense(section: AnnotateSection, data: "ImageData", work: "Work", *, flip: bool) -> "DenseExtractor":
    """The dense features of the settings: maps of the user's own denoiser, or what the library names."""
    from windvane.annotate.dense.dense_by_name import dense_features

    if section.dense.startswith("denoiser:"):
        return denoiser_maps(section, flip=flip, device=str(work.device))
    return dense_features(section.dense, data, work, seed=section.seed, flip=flip)


def finder(section: AnnotateSection, data: "ImageData", work: "Work", *, flip: bool) -> "Find":
    """What finds boxes or masks in any images, learnt on ``data`` where something is learnt."""
    from windvane.annotate.regions.finders import box_rule, found_boxes, found_masks, make_rule

    dense = _dense(section, data, work, flip=flip if section.flip is None else section.flip)
    if section.masks is None:
        # The published method takes the keys of a transformer as they are; other features are centred.
        centre = not section.dense.startswith("hub:")
        rule = box_rule(dense, section.method, {"centre": centre}).fitted(data, work)
        return partial(found_boxes, rule=rule, method=section.method, work=work)
    made: Any = make_rule(f"masks:{section.segmenter}", dense, _mask_options(section))
    return partial(found_masks, segmenter=made.fitted(data, work), work=work)


def _mask_options(section: AnnotateSection) -> dict[str, Any]:
    """What the settings say to an annotator of masks; each takes what it knows."""
    from windvane.annotate.regions.masks import DenseCRF

    # The length of restoring features is the contrast, which says where the ink is; of others it says little.
    lift = 0.3 if section.dense.startswith("restoration") else None
    return {
        "k": section.masks,
        "seed": section.seed,
        "steps": section.steps,
        "lift": lift,
        # Raw patches are clustered as they are.
        "normalise": lift is not None,
        # The published method averages whatever the images are; that is about places, not about ids.
        "flip": section.flip is not False,
        "crf": DenseCRF() if section.crf else None,
    }
