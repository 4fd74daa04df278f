"""Loading by name: a local folder, the hub's local cache, then the network."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from windvane.adapters.transformers_encoders import _folder, _quiet
from windvane.online import plain_name, ways

T = TypeVar("T")


def load_from_hub(
    name: str | Path,
    load: Callable[[bool, Path], T],
    *,
    what: str,
    revision: str | None,
    offline: bool | None,
) -> T:
    """``load(only_local, folder)`` with the network asked last, and only for names that begin with ``hub:``.

    Args:
        load: is given whether only local files may be used, and the folder of the model's small files.
        what: what errors call the model.

    Raises:
        ValueError: none of the tries worked; the message has the last one's reason and an offline choice.
    """
    tries, where = ways(name, offline)
    failure: Exception | None = None
    for only_local in tries:
        try:
            with _quiet():
                return load(only_local, _folder(plain_name(name), revision, only_local))
        except (OSError, ValueError, KeyError, ConnectionError, ImportError) as error:
            failure = error
    reason = str(failure).strip().splitlines()[0] if str(failure).strip() else type(failure).__name__
    raise ValueError(
        f"cannot load the {what} {str(name)!r}{where}: {reason}. Without a network give the path of a local "
        "folder with config.json and weights"
    ) from failure
