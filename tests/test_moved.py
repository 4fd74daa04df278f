"""Modules that were renamed import under the old name for one release, and say the new one."""

import importlib
import sys

import pytest

from windvane._moved import MOVED


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_name_is_the_module_of_the_new_one(old, monkeypatch):
    monkeypatch.delitem(sys.modules, f"windvane.{old}", raising=False)
    with pytest.warns(DeprecationWarning, match=f"windvane.{old} is windvane.{MOVED[old]} now"):
        module = importlib.import_module(f"windvane.{old}")
    new = importlib.import_module(f"windvane.{MOVED[old]}")
    assert module is new and new.__name__ == new.__spec__.name == f"windvane.{MOVED[old]}"


def test_a_name_that_never_was_is_unknown():
    with pytest.raises(ModuleNotFoundError, match="windvane.weathercock"):
        importlib.import_module("windvane.weathercock")
