"""A network class of diffusers without the libraries that its import drags in."""

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any


def diffusers_class(name: str) -> Any:
    """The class ``name`` of diffusers, imported without peft.

    A model class of diffusers imports the loaders of adapters, and they all of peft, which no network of
    ours needs. While diffusers is imported two names of peft have stand-ins that behave as the real ones: an
    object can only be a layer of peft once somebody has imported peft. Adapters of diffusers work as before.

    Raises:
        ImportError: diffusers has no such class, or is not installed.
    """
    if "peft" in sys.modules or importlib.util.find_spec("peft") is None:
        return getattr(importlib.import_module("diffusers"), name)
    stand_ins = _stand_ins()
    sys.modules.update(stand_ins)
    try:
        return getattr(importlib.import_module("diffusers"), name)
    except (ImportError, RuntimeError):
        # Another version asks for more of peft than the stand-ins have; diffusers wraps ImportErrors.
        _remove(stand_ins)
        return getattr(importlib.import_module("diffusers"), name)
    finally:
        _remove(stand_ins)


class _LayerType(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        real = sys.modules.get("peft.tuners.tuners_utils")
        return real is not None and isinstance(instance, real.BaseTunerLayer)

    def __subclasscheck__(cls, subclass: type) -> bool:
        real = sys.modules.get("peft.tuners.tuners_utils")
        return real is not None and issubclass(subclass, real.BaseTunerLayer)


class BaseTunerLayer(metaclass=_LayerType):
    """Stands in for peft's class of the same name in ``isinstance``."""


def disable_input_dtype_casting(*args: Any, **kwargs: Any) -> Any:
    """peft's function of the same name, imported when it is called."""
    helpers = importlib.import_module("peft.helpers")
    return helpers.disable_input_dtype_casting(*args, **kwargs)


def _stand_ins() -> dict[str, ModuleType]:
    names = ("peft", "peft.helpers", "peft.tuners", "peft.tuners.tuners_utils")
    modules = {name: ModuleType(name) for name in names}
    for module in modules.values():
        module.__path__ = []  # type: ignore[attr-defined]
    # transformers asks for the spec to see whether peft is installed.
    modules["peft"].__spec__ = importlib.util.find_spec("peft")
    modules["peft.helpers"].disable_input_dtype_casting = disable_input_dtype_casting  # type: ignore[attr-defined]
    modules["peft.tuners.tuners_utils"].BaseTunerLayer = BaseTunerLayer  # type: ignore[attr-defined]
    return modules


def _remove(stand_ins: dict[str, ModuleType]) -> None:
    for name, module in stand_ins.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]
