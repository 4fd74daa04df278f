"""`windvane settings`: every name that --set and a YAML file understand."""

from typing import Annotated

import typer

from windvane.cli.common.options import Preset

#: The settings whose values are registered names, and what kind of names.
_NAMED = {
    "annotate.features": "features", "model.type": "network", "process.type": "process",
    "train.objective": "objective", "train.corruption": "corruption",
    "sample.sampler": "sampler", "sample.guidance": "guidance",
    "sample.guidance energy:": "energy", "sample.grid": "grid",
}  # fmt: skip


def settings(
    section: Annotated[
        str | None, typer.Argument(metavar="SECTION", help="Only this section, such as train.")
    ] = None,
    preset: Preset = None,
) -> None:
    """List all settings with their values and meanings, the values of a preset if one is named.

    With a section, the names that it may hold are listed, too.
    """
    from windvane.cli.common.config import Config, make_config
    from windvane.cli.common.console import print_table, tell
    from windvane.cli.common.suggestions import suggestion
    from windvane.registry import entries

    made = make_config(preset=preset)
    names = [name for name in Config.model_fields if name != "preset"]
    if section is not None and section not in names:
        raise ValueError(f"unknown section {section!r}{suggestion(section, names)}")
    rows = []
    for name in [section] if section else names:
        part = getattr(made, name)
        for key, field in type(part).model_fields.items():
            rows.append([f"{name}.{key}", _shown(getattr(part, key)), field.description or ""])
    print_table(["setting", "value", "meaning"], rows, keep=2)
    for title, kind in _NAMED.items():
        if section == title.partition(".")[0]:
            tell("")
            print_table([title, "meaning"], [[row.name, row.help] for row in entries(kind)], keep=1)


def _shown(value: object) -> str:
    """A value as YAML would have it, in one line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(list(value)) if isinstance(value, tuple | list) else str(value)
