"""Programs of torch.export and TorchScript, looked through before torch opens them.

``torch.export.load`` unpickles whatever an archive says is pickled, falls back to pickle for older files,
loads compiled libraries, and hands expressions to sympy, which evaluates them as Python. TorchScript is
interpreted without Python, but may read and write files. What needs any of this is refused by name.
"""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import torch

from windvane.damage import Damaged, check_inflation, inflated_size, reading

#: The members of an archive that hold numbers or plain settings.
_PLAIN = (
    r"archive_format|archive_version|byteorder|version|\.data/(version|serialization_id|\w+)"
    r"|models/[\w.-]+\.json|data/weights/(weight_\d+|[\w.-]+_config\.json)"
    r"|data/constants/(tensor_\d+|[\w.-]+_config\.json)|data/sample_inputs/[\w.-]+\.pt"
)
#: Functions of symbolic sizes that torch writes; symbols are s0, u1, ...
_NAMES = set(
    "Symbol Integer Float Rational Add Mul Pow Abs Max Min Mod FloorDiv PythonMod CleanDiv CeilDiv Where Eq "
    "Ne Lt Le Gt Ge Equality Unequality StrictLessThan LessThan StrictGreaterThan GreaterThan And Or Not "
    "ModularIndexing ToFloat TruncToInt TruncToFloat CeilToInt FloorToInt RoundToInt IntTrueDiv FloatTrueDiv "
    "PowByNatural FloatPow Identity true false True False None oo int_oo positive negative nonnegative "
    "integer real zero commutative extended_real finite evaluate".split()
)
_OPERATION = re.compile(
    r"torch\.ops\.(aten|prims|prim|higher_order|quantized|torchvision)(\.\w+)+"
    r"|_operator\.\w+|torch\.sym_\w+|math\.\w+"
)
_OF_FILES = re.compile(r"\b(from_file|torch\.save|torch\.load|aten\.save)\b")
_LONGEST = 10_000
#: torch stores without compression: what inflates more than this is not its work.
_RATIO, _FREE = 8, 2**26
_WAY = (
    "; export it anew with torch.export.save, or, if you made it, let it run code with trust=True (--trust)"
)


def check_program(path: Path) -> None:
    """Refuse a ``.pt2`` file of which loading could run code.

    Raises:
        ValueError: pickles, compiled libraries or expressions that are none, which are named; or damage.
    """
    check_inflation(path, ratio=_RATIO, free=_FREE)
    with reading(path), ZipFile(path) as archive:
        names = archive.namelist()
        if len({name.lower() for name in names}) != len(names):
            raise ValueError("it holds two files of one name")
        tops = {name.partition("/")[0] for name in names}
        if len(tops) != 1 or "serialized_exported_program.json" in names:
            raise _Refused(
                "it is no archive of the present format of torch.export, of which older ones are pickled"
            )
        for name in names:
            inner = name.partition("/")[2]
            if not re.fullmatch(_PLAIN, inner):
                raise _Refused(f"{inner or name} in it may hold code")
            if inner.endswith(".json"):
                _check_json(inner, json.loads(archive.read(name)))
            elif inner.endswith(".pt"):
                _check_tensors(inner, archive.read(name))


def check_script(path: Path) -> None:
    """Refuse a TorchScript file whose program reads or writes files.

    Raises:
        ValueError: such a program, or damage.
    """
    check_inflation(path, ratio=_RATIO, free=_FREE)
    with reading(path), ZipFile(path) as archive:
        for name in archive.namelist():
            if not ("/code/" in name and name.endswith(".py")):
                continue
            if found := _OF_FILES.search(archive.read(name).decode()):
                raise _Refused(f"{name} in it calls {found[0]}, which reads or writes files")


class _Refused(ValueError):
    """What a program could do that data must not."""


def refusal(path: Path, error: Damaged) -> ValueError:
    """The error for a user: what the file could do, with the way out, or that it is no program at all."""
    cause = error.__cause__
    if not isinstance(cause, _Refused):
        kind = "program of torch.export" if path.suffix == ".pt2" else "TorchScript"
        return ValueError(f"{path} is no {kind}: {error.reason}")
    return ValueError(f"{path} is not opened, since {cause}{_WAY}")


def _check_json(name: str, tree: Any) -> None:
    for key, value in _entries(tree):
        if key == "use_pickle" and value:
            raise _Refused(f"{name} in it says that tensors are pickled, and a pickle may run any code")
        if key == "path_name" and not re.fullmatch(r"(weight|tensor)_\d+", str(value)):
            raise _Refused(f"{name} in it names the object {value!r:.60}, which is pickled")
        if key == "expr_str":
            _check_expression(name, value)
        if key == "target" and isinstance(value, str) and not _OPERATION.fullmatch(value):
            raise _Refused(f"{name} in it calls {value!r:.80}, which is no operation of torch")


def _entries(tree: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value, however deep; without recursion."""
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from value.items()
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _check_expression(name: str, text: Any) -> None:
    """Sizes such as ``2*s0``: sympy would evaluate anything else as Python."""
    plain = re.sub(r"'[a-z_]+\d+'", "", text) if isinstance(text, str) and len(text) <= _LONGEST else "?"
    words = re.findall(r"[^\W\d]\w*", plain)
    odd = [word for word in words if word not in _NAMES and not re.fullmatch(r"[a-z]+\d+|zuf\d+", word)]
    if odd or re.search(r"[^\w\s+\-*/(),=<>.&|~]|\.\s*[^\W\d]|\*\*\s*\d{3,}|\*\*.*\*\*", plain):
        raise _Refused(f"{name} in it has {text!r:.80} in the place of a size, which would be evaluated")


def _check_tensors(name: str, content: bytes) -> None:
    inner = io.BytesIO(content)
    if is_zipfile(inner) and inflated_size(inner) > max(_FREE, _RATIO * len(content)):
        raise ValueError(f"{name} in it would become {inflated_size(inner):,} bytes when it is opened")
    try:
        torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise _Refused(f"{name} in it is a pickle of more than tensors") from error
