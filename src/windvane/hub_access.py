"""Whether the network is asked for a model: only for names that say so, and only where there is one."""

import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

HUB = "hub:"
_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_PATIENCE = 0.8
_ENDPOINT = "https://huggingface.co"
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def plain_name(name: str | Path) -> str:
    """A name of the hub without its ``hub:``."""
    return str(name).removeprefix(HUB)


def short_name(name: str | Path) -> str:
    """What a model is called in versions: without ``hub:``, and a folder without the place it lies in."""
    plain = plain_name(name)
    return Path(plain).name if Path(plain).is_dir() else plain


def is_offline(offline: bool | None = None) -> bool:
    """Whether the network must not be asked, by an argument or by the environment (``HF_HUB_OFFLINE``)."""
    if offline is not None:
        return offline
    return os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on")


def ways(name: str | Path, offline: bool | None) -> tuple[list[bool], str]:
    """The tries for a model, each "local files only?", and a clause on why the network is not among them.

    A name without ``hub:`` may be a mistyped path, and is looked for on this machine only.

    Args:
        offline: True never asks; False asks whatever the name is; None asks for names with ``hub:``.
    """
    plain = plain_name(name)
    if Path(plain).is_dir():
        return [True], ""
    if is_offline(offline):
        return [True], " (and the network was not asked)"
    if offline is not False and not str(name).startswith(HUB):
        return [True], f" (and the network was not asked: only for a name such as {HUB}owner/name)"
    if _NAME.fullmatch(plain) is None:
        return [True], f" (and the network was not asked: {plain} is a path, and no folder is there)"
    if not reachable():
        return [True], " (and the network cannot be reached)"
    return [True, False], " (and the network was asked)"


def reachable() -> bool:
    """Whether the hub, or the proxy on the way to it, answers within a second.

    The libraries themselves try five times, each with its own patience.
    """
    proxy = next((os.environ[name] for name in _PROXIES if os.environ.get(name)), None)
    place = urlsplit(proxy or os.environ.get("HF_ENDPOINT") or _ENDPOINT)
    port = place.port or (80 if place.scheme == "http" else 443)
    found: list[bool] = []

    def look() -> None:
        try:
            socket.create_connection((place.hostname or "", port), timeout=_PATIENCE).close()
            found.append(True)
        except OSError:
            pass

    # In a thread of its own, since looking up a name has no limit of time.
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return bool(found)


@contextmanager
def kept_offline(asked: bool = False) -> Iterator[None]:
    """The libraries of the hub look at their own caches only, while this lasts; with ``asked`` as they like.

    They read the switch of the environment once, at their import.
    """
    switches = [("huggingface_hub.constants", "HF_HUB_OFFLINE"), ("datasets.config", "HF_HUB_OFFLINE")]
    with ExitStack() as stack:
        for module, name in switches:
            found = sys.modules.get(module)
            if found is not None and not asked and hasattr(found, name):
                stack.callback(setattr, found, name, getattr(found, name))
                setattr(found, name, True)
        yield
