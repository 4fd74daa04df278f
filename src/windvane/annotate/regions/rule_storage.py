"""The rule that made boxes or masks, saved with them, so that new images can be looked at in the same way.

In the folder of the annotation lie ``rule`` (its settings and what it learnt) and ``dense`` (the features it
stands on: settings and weights, what loads a model of a hub, or for others the version alone).
"""

from functools import partial
from pathlib import Path
from typing import Any

from windvane.annotate.dense.dense_extractor import DenseExtractor
from windvane.annotate.dense.dense_storage import read_dense, write_dense
from windvane.annotate.features.extractor_storage import load_extractor, write_extractor
from windvane.annotate.regions.region_rule import RegionRule
from windvane.registry import entries, known_names

RULE, DENSE = "rule", "dense"


def annotators(gives: str) -> tuple[str, ...]:
    """The names of registered annotators of "boxes" or of "masks"."""
    return tuple(
        name.removeprefix(f"{gives}:") for name in known_names("annotator") if name.startswith(f"{gives}:")
    )


def _rules() -> dict[str, type[RegionRule]]:
    """The registered rules by their kind in files."""
    return {rule.kind: rule for rule in (row.load() for row in entries("annotator"))}


def write_rule(rule: RegionRule | None, folder: Path) -> None:
    """Write a rule into the folder of an annotation; one that is not registered is left out."""
    if rule is None or getattr(rule, "kind", None) not in _rules():
        return
    for name, write in ((RULE, write_extractor), (DENSE, write_dense)):
        (folder / name).mkdir()
        part: Any = rule if name == RULE else rule.extractor
        write(part, folder / name)


def read_rule(folder: Path, made_by: str, extractor: DenseExtractor | None = None) -> RegionRule | None:
    """The rule in the folder of an annotation, or None where there is none.

    Args:
        folder: of the annotation.
        made_by: the version that the annotation says it was made by.
        extractor: the features, where they are not saved with it.

    Raises:
        ValueError: damaged files, features of another version, or a rule that did not make the annotation.
    """
    if not (folder / RULE).is_dir():
        return None
    dense = read_dense(folder / DENSE, extractor)
    kinds = {kind: partial(made.restore, extractor=dense) for kind, made in _rules().items()}
    rule: RegionRule = load_extractor(folder / RULE, kinds=kinds)
    if made_by not in (rule.name, rule.extractor.name):
        raise ValueError(f"the rule in {folder} is {rule.name}, but the annotation was made by {made_by}")
    return rule
