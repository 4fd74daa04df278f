"""Stability labels: each public package has one, and the documents say the same."""

import importlib
from pathlib import Path

import pytest

from windvane.stability import LABELS, stability

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("package", LABELS)
def test_a_label_is_of_a_package_that_there_is(package):
    assert importlib.import_module(package).__name__ == package
    assert LABELS[package] in ("stable", "provisional")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("windvane.sample", "stable"),
        ("windvane.guidance.ClassifierFree", "stable"),
        ("windvane.search.BestOf", "provisional"),
        ("windvane.training.train", "stable"),
        ("windvane.training.noise_aware.NoiseAwareEncoder", "provisional"),
    ],
)
def test_a_name_has_the_label_of_the_nearest_package(name, label):
    assert stability(name) == label


@pytest.mark.parametrize("name", ["torch.nn", "windvane._moved", "windvane.search._x"])
def test_private_and_foreign_names_have_none(name):
    with pytest.raises(ValueError, match="no public name"):
        stability(name)


def test_the_contributors_page_lists_what_may_change():
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split())
    provisional = [name.removeprefix("windvane.") for name, label in LABELS.items() if label == "provisional"]
    assert f"Provisional so far: {', '.join(f'`{name}`' for name in provisional)}." in text
