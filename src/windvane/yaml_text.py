"""Settings as YAML, read in bounded time and memory: aliases let a few lines stand for billions of values."""

from typing import Any

LONGEST = 500_000
MOST = 50_000


def read_tree(text: str) -> Any:
    """What a YAML text holds, plain values only.

    Raises:
        yaml.YAMLError: no YAML.
        ValueError: a text of more than `LONGEST` characters, aliases that contain themselves, or more than
            `MOST` values once aliases stand for what they name.
        RecursionError: nested too deeply.
    """
    import yaml

    if len(text) > LONGEST:
        raise ValueError(f"settings have at most {LONGEST} characters, it has {len(text)}")
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _count(node, {}) > MOST:
            raise ValueError(f"settings hold at most {MOST} values, its aliases make more of them")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _count(node: Any, known: dict[int, int]) -> int:
    """How many values a node stands for, each alias counted as what it names; each node is visited once."""
    if id(node) not in known:
        known[id(node)] = -1
        parts = node.value if isinstance(node.value, list) else []
        inner = [part for pair in parts for part in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_count(part, known) for part in inner)
    if known[id(node)] < 0:
        raise ValueError("an alias in it contains itself")
    return known[id(node)]
