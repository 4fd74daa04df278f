"""How long public names stay: a label for every package, and for what it exports.

``stable``: renamed or changed only with an alias that warns for one release. ``provisional``: used and
tested, but the call may still change with a release that says so in the changelog. What is not exported by
an ``__init__`` (``__all__``), and every name with a leading underscore, is private and carries no label.
"""

#: Package -> label; what is not listed has that of the package above it.
LABELS = {
    "windvane": "stable",
    "windvane.adapters": "provisional",
    "windvane.compress": "provisional",
    "windvane.judges": "provisional",
    "windvane.registry": "provisional",
    "windvane.report": "provisional",
    "windvane.search": "provisional",
    "windvane.tasks": "provisional",
    "windvane.text": "provisional",
    "windvane.training.noise_aware": "provisional",
}


def stability(name: str) -> str:
    """The label of a public name such as ``"windvane.search.BestOf"``.

    Raises:
        ValueError: a name that is private, or none of Windvane's.
    """
    parts = name.split(".")
    if parts[0] != "windvane" or any(part.startswith("_") for part in parts):
        raise ValueError(f"{name!r} is no public name of windvane, and has no stability label")
    while ".".join(parts) not in LABELS:
        parts.pop()
    return LABELS[".".join(parts)]
