"""Which column of a table holds the images and which one the labels."""

import json
import warnings
from typing import TYPE_CHECKING

from windvane.data.scan import printable

if TYPE_CHECKING:
    from pyarrow import DataType, Schema

_IMAGE_NAMES = ("image", "img", "images", "picture", "pixel_values")
_LABEL_NAMES = ("label", "labels", "fine_label", "coarse_label", "class", "class_label", "target", "y")


def find_images(schema: "Schema", wanted: str | None) -> str:
    """The column with image files: the one wanted, else one of the usual name, else the only one of the kind.

    Raises:
        ValueError: listing the columns and their types, if none or several are possible.
    """
    possible = [field.name for field in schema if _holds_files(field.type)]
    if wanted is not None:
        if wanted not in possible:
            raise ValueError(
                f"column {wanted!r} holds no image files; possible: {possible}; all: {_described(schema)}"
            )
        return wanted
    named = [name for name in _IMAGE_NAMES if name in possible]
    if named or len(possible) == 1:
        return (named or possible)[0]
    raise ValueError(
        f"{'no column holds' if not possible else 'several columns hold'} image files "
        f"(binary, or a struct of bytes and path); choose with image_column=. Columns: {_described(schema)}"
    )


def find_labels(schema: "Schema", wanted: str | None) -> str | None:
    """The column with labels, ids or texts: the one wanted, else one of the usual name, else None.

    Raises:
        ValueError: listing the columns and their types, if the one wanted is not of that kind.
    """
    possible = [field.name for field in schema if _holds_labels(field.type)]
    if wanted is not None:
        if wanted not in possible:
            raise ValueError(
                f"column {wanted!r} holds no labels; possible: {possible}; all: {_described(schema)}"
            )
        return wanted
    found = next((name for name in _LABEL_NAMES if name in possible), None)
    unfit = next((field for field in schema if field.name in _LABEL_NAMES), None)
    if found is None and unfit is not None and not _holds_files(unfit.type):
        warnings.warn(
            f"the column {unfit.name!r} holds {unfit.type}, which are no classes; no labels are taken",
            stacklevel=2,
        )
    return found


def class_names(schema: "Schema", column: str | None) -> list[str] | None:
    """Class names of a label column, from the hub's metadata in the schema; None if there are none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return [str(name) for name in features[column]["names"]]
    except (KeyError, TypeError, ValueError):
        return None


def names_source(schema: "Schema", column: str | None, names: list[str] | None) -> str | None:
    """Where the names of the classes of a label column are from, in words; None where there are none."""
    if names is None:
        return None
    if class_names(schema, column) is not None:
        return f"the metadata of column {printable(str(column))}"
    return f"the values of column {printable(str(column))}"


def _holds_files(kind: "DataType") -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return any(field.name == "bytes" and _is_binary(field.type) for field in kind)
    return _is_binary(kind)


def _is_binary(kind: "DataType") -> bool:
    from pyarrow import types

    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def _holds_labels(kind: "DataType") -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _holds_labels(kind.value_type)
    numbers = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    numbers = numbers or types.is_boolean(kind)
    return numbers or types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _described(schema: "Schema") -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)
