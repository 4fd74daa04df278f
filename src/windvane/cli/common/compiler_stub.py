"""torch without the compiler that its optimisers import: as much time as the rest of torch."""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

_NAME = "torch._dynamo"


def spare_the_compiler() -> None:
    """Put a stand-in in the place of ``torch._dynamo``, until somebody needs more of it than optimisers do.

    A step of any optimiser imports the compiler to tell it what not to compile, whether or not anything is
    compiled. The stand-in says so to the compiler where it has been imported, and else has nobody to tell;
    whatever else is asked of it imports the real one, which then takes its place for good.
    """
    if _NAME not in sys.modules:
        sys.modules[_NAME] = _StandIn(_NAME)


class _StandIn(ModuleType):
    def disable(self, fn: Callable[..., Any], *args: Any, **options: Any) -> Callable[..., Any]:
        """The function, which the compiler is told of at its first call after it has been imported."""
        disabled: list[Callable[..., Any]] = []

        def call(*values: Any, **named: Any) -> Any:
            real = _loaded()
            if real is None:
                return fn(*values, **named)
            if not disabled:
                disabled.append(real.disable(fn, *args, **options))
            return disabled[0](*values, **named)

        return call

    def graph_break(self, *args: Any, **options: Any) -> None:
        """Nothing, unless the compiler is there."""
        real = _loaded()
        if real is not None:
            real.graph_break(*args, **options)

    def __getattr__(self, name: str) -> Any:
        # What looks through all modules asks for these; a package is asked for its path to import a part.
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        if sys.modules.get(_NAME) is self:
            del sys.modules[_NAME]
        return getattr(importlib.import_module(_NAME), name)


def _loaded() -> Any:
    found = sys.modules.get(_NAME)
    return None if found is None or isinstance(found, _StandIn) else found
