"""Modules that have another name now: the old one still imports for one release, with a warning.

A module that only this package uses needs no row; one that documents or messages named does.
"""

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

#: Old name -> new name, both below ``windvane``.
MOVED = {
    "metrics.judge": "judges.judge",
    "metrics.judge_training": "judges.training",
    "adapters.guider": "adapters.guiders",
    "adapters.programs": "adapters.exported_programs",
    "annotate.annotation": "annotate.images.annotation",
    "annotate.annotator": "annotate.image_annotator",
    "annotate.boxes": "annotate.regions.boxes",
    "annotate.boxes.coco": "annotate.regions.boxes.coco_export",
    "annotate.boxes.coco_entries": "annotate.regions.boxes.coco_entries",
    "annotate.boxes.coco_file": "annotate.regions.boxes.coco_file",
    "annotate.boxes.coco_reading": "annotate.regions.boxes.coco_import",
    "annotate.boxes.components": "annotate.regions.boxes.components",
    "annotate.boxes.geometry": "annotate.regions.boxes.geometry",
    "annotate.boxes.lost": "annotate.regions.boxes.lost_algorithm",
    "annotate.boxes.ncut": "annotate.regions.boxes.normalised_cut",
    "annotate.boxes.outlines": "annotate.regions.boxes.outlines",
    "annotate.choose": "annotate.images.choice_of_k",
    "annotate.clusters": "annotate.images.clusters",
    "annotate.continuous": "annotate.images.vectors",
    "annotate.dense.base": "annotate.dense.dense_extractor",
    "annotate.dense.denoiser": "annotate.dense.denoiser_maps",
    "annotate.dense.drawn": "annotate.dense.position_samples",
    "annotate.dense.encoder": "annotate.dense.encoder_maps",
    "annotate.dense.hub": "annotate.dense.hub_patches",
    "annotate.dense.restore": "annotate.dense.restoration",
    "annotate.features.base": "annotate.features.extractor",
    "annotate.features.encoder": "annotate.features.hub_encoder",
    "annotate.find": "annotate.regions.finders",
    "annotate.group": "annotate.process_group",
    "annotate.interpolation": "annotate.images.interpolation",
    "annotate.masks": "annotate.regions.masks",
    "annotate.masks.correspondence": "annotate.regions.masks.correspondence",
    "annotate.masks.crf": "annotate.regions.masks.crf",
    "annotate.masks.geometry": "annotate.regions.masks.geometry",
    "annotate.masks.lift": "annotate.regions.masks.feature_lift",
    "annotate.masks.patches": "annotate.regions.masks.patch_clusters",
    "annotate.masks.segmenter": "annotate.regions.masks.segmenter",
    "annotate.masks.stego": "annotate.regions.masks.stego",
    "annotate.masks.stego_training": "annotate.regions.masks.stego_training",
    "annotate.regions_storage": "annotate.storage",
    "annotate.rule_storage": "annotate.regions.rule_storage",
    "annotate.robustness": "annotate.images.robustness",
    "annotate.rules": "annotate.regions.rules",
    "annotate.shards": "annotate.feature_shards",
    "guidance.checks": "guidance.energy_checks",
    "guidance.kick": "guidance.kicked_sampler",
    "guidance.memory": "guidance.recomputation",
    "guidance.named": "guidance.by_name",
    "guidance.pushed": "guidance.guided_sampler",
    "guidance.search": "guidance.weight_search",
    "guidance.steps": "guidance.step_weights",
    "guidance.weaker": "guidance.autoguidance",
    "points": "point_set",
    "search.builtin": "energies.image_rewards",
    "search.noises": "search.noise_search",
    "search.paths": "search.path_search",
    "stepping": "current_step",
    "tasks.steering.methods": "guidance.methods",
}


class _Alias(Loader):
    def __init__(self, new: str) -> None:
        self.new = new

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.new)
        self.own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.own  # the import has written the old name's over it


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        if package != "windvane" or name not in MOVED:
            return None
        new = f"{package}.{MOVED[name]}"
        message = f"{fullname} is {new} now; the old name goes with the next release"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return ModuleSpec(fullname, _Alias(new))


def forward_old_names() -> None:
    """Let the old names import; first, since a folder that moved finds its files by them."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
