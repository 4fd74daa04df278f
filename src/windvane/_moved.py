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
    "adapters.guider": "adapters.guiders",
    "adapters.programs": "adapters.exported_programs",
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
    """Let the old names import; nothing else asks the finder, for it stands last."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
