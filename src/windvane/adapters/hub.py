"""Loading by name: a local folder, the hub's local cache, then the network."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from windvane.hub_access import plain_name, ways

T = TypeVar("T")

#: What transformers and the hub raise for a model that is not there or not readable.
UNREADABLE: tuple[type[Exception], ...] = (OSError, ValueError, KeyError)


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

    def attempt(only_local: bool) -> T:
        with quiet():
            return load(only_local, small_files(plain_name(name), revision, only_local))

    remedy = "Without a network give the path of a local folder with config.json and weights"
    failures = (*UNREADABLE, ImportError)
    return load_or_explain(name, attempt, what=what, remedy=remedy, offline=offline, failures=failures)


def load_or_explain(
    name: str | Path,
    load: Callable[[bool], T],
    *,
    what: str,
    remedy: str,
    offline: bool | None,
    failures: tuple[type[Exception], ...] = UNREADABLE,
) -> T:
    """``load(only_local)`` from local files first; if all tries fail, the last reason and a remedy.

    Args:
        what: what errors call the model.
        remedy: a sentence without its full stop: what to do instead.
        failures: exceptions after which the next way is tried; others go through.

    Raises:
        ValueError: none of the tries worked.
    """
    tries, where = ways(name, offline)
    failure: Exception | None = None
    for only_local in tries:
        try:
            return load(only_local)
        except failures as error:
            failure = error
    reason = str(failure).strip().splitlines()[0] if str(failure).strip() else type(failure).__name__
    raise ValueError(f"cannot load the {what} {str(name)!r}{where}: {reason}. {remedy}") from failure


def small_files(name: str, revision: str | None, only_local: bool) -> Path:
    """The folder with the small files of a model: the given one, or the hub's snapshot of them."""
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    small = ["preprocessor_config.json", "README.md", "config.json"]
    return Path(snapshot_download(name, revision=revision, local_files_only=only_local, allow_patterns=small))


@contextmanager
def quiet() -> Iterator[None]:
    """Loading prints bars and notes about the unused text tower, head or decoder; they are of no use here."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
