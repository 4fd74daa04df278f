"""Ways to damage a file: each takes its bytes and a random generator, and gives other bytes."""

import json
import random

import yaml

_VALUES = (None, True, -1, 0, 1, 7, 0.5, 1e308, -(10**30), "", "x", "\x1b[2J", [], {}, [1], {"a": 1}, [[]])


def truncated(content, rng):
    """Cut somewhere; now and then to nothing."""
    return content[: rng.choice((0, rng.randrange(max(len(content), 1))))]


def flipped(content, rng):
    """One to three bits turned over."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(changed))
        changed[at] ^= 1 << rng.randrange(8)
    return bytes(changed)


def zeroed(content, rng):
    """A block of zeros, as a lost sector leaves."""
    begin = rng.randrange(len(content))
    size = min(rng.choice((4, 64, 512, 4096)), len(content) - begin)
    return content[:begin] + bytes(size) + content[begin + size :]


def scrambled(content, rng):
    """A block of another file."""
    begin = rng.randrange(len(content))
    size = min(rng.choice((1, 16, 256)), len(content) - begin)
    return content[:begin] + rng.randbytes(size) + content[begin + size :]


def edited(content, rng):
    """Another value in a JSON or YAML file, a key gone, or one too many; lines of a log by themselves."""
    text = content.decode()
    lines = text.splitlines()
    if len(lines) > 1 and all(line.startswith("{") for line in lines):
        at = rng.randrange(len(lines))
        lines[at] = edited(lines[at].encode(), rng).decode().replace("\n", " ")
        return ("\n".join(lines) + "\n").encode()
    as_json = text.lstrip().startswith(("{", "["))
    tree = json.loads(text) if as_json else yaml.safe_load(text)
    _edit(tree, rng)
    return (json.dumps(tree, indent=2) if as_json else yaml.safe_dump(tree, sort_keys=False)).encode()


def _edit(tree, rng):
    places = list(_places(tree))
    holder, key = rng.choice(places)
    way = rng.choice(("value", "value", "near", "gone", "more"))
    if way == "gone":
        del holder[key]
    elif way == "more" and isinstance(holder, dict):
        holder[str(key) + "_"] = rng.choice(_VALUES)
    elif way == "near" and isinstance(holder[key], (int, float)):
        holder[key] = holder[key] + 1
    elif way == "near" and isinstance(holder[key], str):
        holder[key] = holder[key] + "0"
    else:
        holder[key] = rng.choice(_VALUES)


def _places(tree):
    """Every place of a value: what holds it, and under which key."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield tree, key
        yield from _places(value)


BYTES = (truncated, flipped, zeroed, scrambled)


def mutate(path, rng: random.Random) -> str:
    """Damage a file in one of the ways that fit it; returns which. Its content is another one for certain."""
    before = path.read_bytes()
    ways = [*BYTES, *([edited] * 4 if path.suffix in (".json", ".jsonl", ".yaml") else [])]
    for _ in range(100):
        way = rng.choice(ways) if before else scrambled
        after = way(before, rng) if before else rng.randbytes(8)
        if after != before:
            path.write_bytes(after)
            return way.__name__
    raise AssertionError(f"{path} could not be damaged")
