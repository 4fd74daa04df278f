"""What is said about boxes and masks on the command line."""

import pytest
import torch

from tests.annotate.stand_ins import TensorImages
from windvane.annotate import MaskAnnotation, Origin
from windvane.annotate.work import Work
from windvane.cli.common.annotations import regions
from windvane.cli.common.sections import AnnotateSection

DATA = TensorImages(torch.zeros(6, 1, 8, 8))


def finder(section, data, work=None, **options):
    """Finds masks that say nothing but the seed they were learnt from: so many lines of id 1."""

    def find(images, **how):
        masks = torch.zeros(len(images), 8, 8, dtype=torch.int64)
        masks[:, : section.seed % 8] = 1
        return MaskAnnotation(masks, 3, origin=Origin("clusters"))

    return find


@pytest.mark.parametrize(("segmenter", "seeds"), [("clusters", [4, 5, 6]), ("stego", [4, 5])])
def test_stability_compares_masks_learnt_from_other_seeds(monkeypatch, segmenter, seeds):
    """The same seed again would come back perfectly, and say nothing."""
    asked = []

    def noted(section, data, work, **options):
        asked.append(section.seed)
        return finder(section, data, work, **options)

    monkeypatch.setattr(regions, "finder", noted)
    section = AnnotateSection(masks=3, segmenter=segmenter, stability=3, seed=4, dense="patches:3")
    told = regions.found_again(section, finder(section, DATA), DATA, Work(), flip=False)
    assert asked == seeds[1:] and told["seeds"]["seeds"] == seeds
    assert told["seeds"]["iou_lowest"] < 1 and told["seeds"]["kept"] < 1
