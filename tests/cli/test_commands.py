"""The commands by their rows, and the flags that stand for settings."""

import inspect

import pytest

from tests.cli.test_imports import imported
from windvane.cli.common.options import FLAGS, UserSettings, with_settings
from windvane.registry import entries


@pytest.mark.parametrize("row", entries("command"), ids=lambda row: row.name)
def test_a_row_says_what_its_command_says_first(row):
    words = " ".join(inspect.getdoc(row.load()).split("\n\n")[0].split())
    assert words.startswith(f"{row.help}.")
    assert row.load().__name__.replace("_", "-") == row.name


def test_the_list_of_commands_imports_none_of_them():
    commands = [f"windvane.cli.{row.name.replace('-', '_')}.command" for row in entries("command")]
    assert len(commands) >= 13
    assert imported(",".join(commands), "--help") == []
    assert imported(",".join(commands), "papers") == ["windvane.cli.papers.command"]


def test_given_knows_what_was_asked_for_and_not_what_is_usual():
    user = UserSettings({"sample.steps": 7}, settings=["sample.weight=2"])
    assert user.names("sample.steps") and user.names("sample.weight") and not user.names("sample.n")
    section = user.config({"sample": {"n": 3, "steps": 9}}, {"sample.steps": 5, "sample.seed": 4}).sample
    assert (section.n, section.steps, section.seed, section.weight) == (3, 7, 4, 2)
    assert not UserSettings({}) and UserSettings({}, settings=["a=1"])


def test_flags_go_to_their_settings_and_other_parameters_to_the_command():
    seen = {}

    @with_settings("out sample.n sample.interval sample.boxes config set", n="Other help.")
    def command(user, out: str = "there"):
        seen.update(flags=user.flags, out=out)

    shown = inspect.signature(command).parameters
    assert list(shown) == ["out", "n", "interval", "boxes", "config", "set"]
    assert shown["n"].annotation.__metadata__[0].help == "Other help."
    assert FLAGS["sample.n"].__metadata__[0].help == "How many pictures."
    command(out="here", n=2, interval="0.5,inf", boxes=None, config=None, set=[])
    assert seen == {"flags": {"sample.n": 2, "sample.interval": [0.5, float("inf")]}, "out": "here"}
    with pytest.raises(ValueError, match="needs two noise levels LOW,HIGH"):
        command(out="here", n=2, interval="0.5", boxes=None, config=None, set=[])


def test_every_flag_names_a_setting():
    from windvane.cli.common.config import Config

    for setting in FLAGS:
        section, _, name = setting.partition(".")
        assert not name or name in Config.model_fields[section].annotation.model_fields, setting
