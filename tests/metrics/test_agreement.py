import pytest
import torch

from windvane.metrics import agreement, cluster_agreement, judge_agreement, majority_labels


class Brightest:
    """Says that an image shows the label of its brightest pixel."""

    name = "brightest"

    def classify(self, images):
        return 20 * images.flatten(1)


def images_of(labels, classes=4):
    return torch.nn.functional.one_hot(torch.as_tensor(labels), classes).float().reshape(-1, 1, 2, 2)


def test_the_share_and_the_conditions_are_counted():
    metric = agreement(torch.tensor([0, 0, 1, 2, 2, 1]), torch.tensor([0, 0, 1, 2, 1, 2]))
    assert metric.value == pytest.approx(4 / 6)
    assert metric.details["by_condition"] == {"0": 1.0, "1": 0.5, "2": 0.5}
    assert metric.details["worst"] == "1"
    assert metric.low < 4 / 6 < metric.high


def test_a_judge_reads_the_images():
    metric = judge_agreement(images_of([0, 1, 2, 3]), torch.tensor([0, 1, 3, 3]), Brightest(), batch_size=3)
    assert metric.value == 0.75
    assert metric.extractor == "brightest"
    assert metric.details["mean_probability"] == pytest.approx(0.75, abs=1e-6)


def test_one_hot_requests_are_ids():
    wanted = torch.nn.functional.one_hot(torch.tensor([0, 1, 2]), 4)
    assert judge_agreement(images_of([0, 1, 3]), wanted, Brightest()).value == pytest.approx(2 / 3)


def test_clusters_are_judged_by_their_majority():
    ids, labels = torch.tensor([0, 0, 0, 1, 1, 3]), torch.tensor([2, 2, 1, 0, -1, -1])
    meaning = majority_labels(ids, labels, count=5)
    # Cluster 0 mostly shows 2, cluster 1 shows 0; 3 has no labelled member, 2 and 4 have none at all.
    assert meaning.tolist() == [2, 0, -1, -1, -1]
    metric = judge_agreement(images_of([2, 0, 0]), torch.tensor([0, 1, 0]), Brightest(), meaning=meaning)
    assert metric.value == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="must not be negative"):
        judge_agreement(images_of([2]), torch.tensor([3]), Brightest(), meaning=meaning)
    with pytest.raises(ValueError, match="id 7 was requested, but only 5"):
        judge_agreement(images_of([2]), torch.tensor([7]), Brightest(), meaning=meaning)


def test_an_annotator_recognises_its_clusters():
    def assign(images):
        return (images.flatten(1).argmax(1) // 2).long()

    metric = cluster_agreement(images_of([0, 1, 2, 3]), torch.tensor([0, 0, 1, 0]), assign, name="halves")
    assert (metric.name, metric.extractor, metric.value) == ("cluster_agreement", "halves", 0.75)


def test_unfit_ids_are_refused():
    with pytest.raises(ValueError, match="2 images, but 3 requested ids"):
        judge_agreement(images_of([0, 1]), torch.tensor([0, 1, 1]), Brightest())
    with pytest.raises(ValueError, match="label 9 was requested, but brightest knows 4 labels"):
        judge_agreement(images_of([0]), torch.tensor([9]), Brightest())
    with pytest.raises(ValueError, match=r"whole numbers, got 0\.5"):
        agreement(torch.tensor([0.0]), torch.tensor([0.5]))
    with pytest.raises(ValueError, match="several or no entries"):
        agreement(torch.tensor([0]), torch.tensor([[1, 1]]))
    with pytest.raises(ValueError, match="2 predictions for 1 requests"):
        agreement(torch.tensor([0, 1]), torch.tensor([0]))
    with pytest.raises(ValueError, match="none of the rows has a label"):
        majority_labels(torch.tensor([0, 1]), torch.tensor([-1, -1]))
    with pytest.raises(ValueError, match="id 1 does not fit count=1"):
        majority_labels(torch.tensor([0, 1]), torch.tensor([1, 1]), count=1)
