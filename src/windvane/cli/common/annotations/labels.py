"""Annotating the training images of a run, and saying what came out."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.common.datasets import usable_cache
from windvane.cli.common.errors import say
from windvane.cli.common.models import check_model_path
from windvane.cli.common.sections import AnnotateSection
from windvane.cli.common.stages import Stages
from windvane.registry import known_names

if TYPE_CHECKING:
    from windvane.annotate import Annotation, Control, Group
    from windvane.annotate.features import FeatureExtractor
    from windvane.annotate.work import Work
    from windvane.cli.common.config import Config
    from windvane.data import ImageData

_DENOISER = "denoiser:"
_KINDS = ("selfsup", "pca", "pixels", "denoiser", "hub")
#: Beside what the library saves in the folder of an annotation.
REPORT = "report.json"
#: What the ids beside boxes are called that came with these in a file.
IN_FILE = "clusters in"


def check_features(text: str) -> None:
    """Refuse features of an unknown kind, and a denoiser that is not there, before anything is loaded."""
    kind, _, rest = text.partition(":")
    if kind not in (*_KINDS, *known_names("features")) or (kind in ("denoiser", "hub") and not rest):
        raise ValueError(
            f"unknown features {text!r}; known: selfsup[:STEPS], pca[:COMPONENTS], pixels, denoiser:RUN, "
            "hub:NAME"
        )
    if kind == "denoiser":
        check_model_path(Path(rest))


def tell_idle(config: "Config", k: str | None) -> None:
    """Say where a number of clusters has no effect: no error, as a script may give it with every call."""
    section = config.annotate
    if k is not None and section.masks is not None:
        say(f"--k {k} has no effect: masks have the {section.masks} clusters of --masks, of places")
    elif k is not None and section.control is not None and section.control.startswith("labels"):
        say(f"--k {k} has no effect: --control {section.control} looks for no clusters")


def features_of(text: str, *, seed: int, flip: bool, device: str) -> "str | FeatureExtractor":
    """The features a text names; those of a denoiser as an object, the rest by the library's own names."""
    if not text.startswith(_DENOISER):
        return text
    from windvane.annotate import DenoiserFeatures
    from windvane.cli.common.models import open_model
    from windvane.denoiser import NetworkDenoiser

    place = text.removeprefix(_DENOISER)
    model = open_model(Path(place), weights="ema", device=device)
    if not isinstance(model.denoiser, NetworkDenoiser):
        raise ValueError(f"features of a denoiser need a model of windvane, {place} is a diffusers pipeline")
    return DenoiserFeatures(model.denoiser, seed=seed)


def work_of(section: AnnotateSection, *, device: str, progress: bool, group: "Group | None" = None) -> "Work":
    """How the section is worked on here, with all that is learnt in the cache."""
    from windvane.annotate.work import Work

    return Work.of(section.batch_size, device, usable_cache("annotate"), group, progress)


def make_annotation(
    section: AnnotateSection,
    data: "ImageData",
    work: "Work",
    *,
    flip: bool,
    stages: Stages | None = None,
) -> "tuple[Annotation, dict[str, Any]]":
    """The annotation of the images, and what there is to say about it; `stages` say how long each part took.

    For controls of the labels nothing is learnt.
    """
    from windvane import annotate as library
    from windvane.annotate.control_spec import with_fingerprint
    from windvane.annotate.features.extraction import extracted
    from windvane.annotate.image_annotator import annotated

    stages = Stages(aloud=False) if stages is None else stages
    control = None if section.control is None else library.Control.read(section.control)
    if control is not None and control.labels:
        controlled = _of_labels(control, data, section.seed)
        stages.begin()
        return controlled
    grey = control is not None and control.kind == "grey"
    seen = library.GreyImages(data) if grey else data
    flip = flip if section.flip is None else section.flip
    features = features_of(section.features, seed=section.seed, flip=flip, device=str(work.device))

    def fitted(features: "str | FeatureExtractor", k: int) -> "Annotation":
        clusters = library.Clusters(k, seed=section.seed, backend=section.backend)
        return annotated(seen, work, features, clusters, flip)

    # One cluster costs nothing: the features come first, and `k` clusters of them take a stage of their own.
    if section.k != "auto":
        _check_clusters(int(section.k), len(data), section)
    if not section.features.startswith("hub:"):  # which may not be there
        stages.begin()
    with stages(f"features of {len(data):,} images"):
        made = fitted(features, 1)
        if made.extractor is None:
            raise ValueError(f"the features {section.features} are gone; clear the cache folder {work.cache}")
        extractor = made.extractor
        values = extracted(extractor, seen, work, flip)
    stages.begin()
    choice = None
    seeds = range(section.stability)
    fits: dict[str, Any] = {"backend": section.backend, "progress": work.progress}
    if section.k == "auto":
        compared = seeds if len(seeds) > 1 else range(3)
        with stages("choice of their number"):
            choice = work.group.first(
                partial(library.choose_k, values, library.candidates(len(data)), seeds=compared, **fits)
            )
    k = int(section.k) if choice is None else choice.recommended
    with stages(f"{k} clusters"):
        made = fitted(extractor, k)
    if control is not None:
        made = control.apply(with_fingerprint(made, data.fingerprint), data.labels, seed=section.seed)
    told = made.report(data.labels)
    if choice is not None:
        told["choice"] = choice.to_dict()
    compare = section.stability > 1 and (control is None or grey)
    if compare and choice is not None:  # the same fits were made to choose
        told["stability"] = {"k": k, "seeds": list(seeds), **choice.chosen.stability}
    elif compare:
        with stages("comparison of seeds"):
            told["stability"] = work.group.first(partial(library.stability, values, k, seeds=seeds, **fits))
    return made, told


def _check_clusters(k: int, n: int, section: AnnotateSection) -> None:
    """Refuse, before anything is learnt, what the clusters would be refused for after it."""
    from windvane.annotate import Clusters

    if k > n:
        raise ValueError(f"k={k} clusters need at least as many images, got {n}")
    Clusters(k, backend=section.backend).check_backend()


def _of_labels(control: "Control", data: "ImageData", seed: int) -> "tuple[Annotation, dict[str, Any]]":
    import torch

    from windvane.annotate import Annotation

    images = Annotation(torch.zeros(len(data), dtype=torch.int64), 1, fingerprint=data.fingerprint)
    made = control.apply(images, data.labels, seed=seed)
    return made, made.report()


def lines(told: dict[str, Any]) -> list[str]:
    """What a user wants to know about an annotation, in a few lines."""
    sizes = told["balance"]
    kind = "" if told["source"].startswith(IN_FILE) else ", a control"
    text = [
        f"{told['k']} clusters of {told['n']} images by {told['extractor']}"
        if told["extractor"]
        else f"{told['k']} ids of {told['n']} images: {told['source']}{kind}",
        f"images a cluster: {sizes['smallest']} to {sizes['largest']}, median {sizes['median']:g}; "
        f"evenness {sizes['entropy']:.2f} of 1",
    ]
    if sizes["small"]:
        text.append(
            f"{sizes['small']} clusters have fewer than 20 images: their samples may come close to copies"
        )
    if "stability" in told:
        found = told["stability"]
        text.append(
            f"stability over {len(found['seeds'])} seeds: mutual information {found['ami']:.2f} "
            f"(lowest {found['ami_lowest']:.2f}; 1 is the same clusters, 0 chance)"
        )
    if "choice" in told:
        text.append(told["choice"]["reasoning"])
    if "agreement" in told:
        found = told["agreement"]
        text.append(
            f"agreement with the labels, which were not used: NMI {found['nmi']:.2f}, "
            f"purity {found['purity']:.2f}"
        )
    return text
