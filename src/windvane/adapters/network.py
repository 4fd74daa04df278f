"""Whether the network is asked for a model: only for names that say so, and only where there is one."""

import os
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

HUB = "hub:"
_PATIENCE = 0.8
_ENDPOINT = "https://huggingface.co"
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def plain_name(name: str | Path) -> str:
    """A name of the hub without its ``hub:``."""
    return str(name).removeprefix(HUB)


def is_offline(offline: bool | None = None) -> bool:
    """Whether the network must not be asked, by an argument or by the environment (``HF_HUB_OFFLINE``)."""
    if offline is not None:
        return offline
    return os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on")


def ways(name: str | Path, offline: bool | None, *, named: bool = False) -> tuple[list[bool], str]:
    """The tries for a model, each "local files only?", and a clause on why the network is not among them.

    A name without ``hub:`` may be a mistyped path, and is looked for on this machine only.

    Args:
        offline: True never asks; False asks whatever the name is; None asks for names with ``hub:``.
        named: the caller knows that it is a name of the hub.
    """
    if Path(name).is_dir():
        return [True], ""
    if is_offline(offline):
        return [True], " (and the network was not asked)"
    if not (named or offline is False or str(name).startswith(HUB)):
        return [True], f" (and the network was not asked: only for a name such as {HUB}{plain_name(name)})"
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
