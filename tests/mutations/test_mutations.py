"""Every file that Windvane writes, damaged at random: a named error, a said rebuild, or the same as before.

``--mutations N`` asks for more of them; ``--mutation-seed S`` for others, or for one that failed before.
"""

import random

import pytest

from .mutators import mutate
from .world import READING, World

IN_PROCESS, FRESH = 300, 10


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


def seeds(request, share, default):
    asked = request.config.getoption("--mutations")
    first = request.config.getoption("--mutation-seed")
    count = default if asked is None else max(1, asked * share // (IN_PROCESS + FRESH))
    return range(first, first + count)


def complaint(world, seed, *, fresh=False):
    """Damage one file, call one command that reads it: what is wrong with its answer, or None."""
    world.restore()
    rng = random.Random(seed)
    part = rng.choice(sorted(READING))
    path = rng.choice([path for path in world.targets() if world.part(path) == part])
    words = rng.choice(READING[part])
    world.baseline(words)
    way = mutate(path, rng)
    found = world.run(words, fresh=fresh)
    told = f"seed {seed}: {path.relative_to(world.place)} {way}; {' '.join(words)}"
    folder = world.name(path.parent)
    # A state of training or of a cache that is left for another is named by its folder.
    names = (path.name, *([folder] if "/" in folder else []))
    if found.error is not None or "Traceback" in found.said or found.code not in (0, 2):
        return f"{told}\n  exit {found.code}, {found.error!r}\n  {found.said[-800:]}"
    if found.code == 2:
        errors = [line for line in found.said.splitlines() if line.startswith("windvane: error: ")]
        if len(errors) != 1 or not any(name in errors[0] for name in names):
            return f"{told}\n  the error does not name the file: {found.said[-800:]}"
        return None
    different = world.difference(found, words)
    if different and not any(name in found.said for name in names):
        return f"{told}\n  silently different: {', '.join(different[:6])}\n  {found.said[-800:]}"
    return None


def judged(world, chosen, *, fresh=False):
    complaints = [text for seed in chosen if (text := complaint(world, seed, fresh=fresh))]
    print(f"mutations {chosen.start} to {chosen.stop - 1}: {len(complaints)} complaints")
    assert not complaints, f"{len(complaints)} of {len(chosen)}:\n" + "\n".join(complaints[:40])


def test_no_damage_passes_in_silence(world, request):
    judged(world, seeds(request, IN_PROCESS, IN_PROCESS))


def test_nor_in_a_process_of_its_own(world, request):
    judged(world, seeds(request, FRESH, FRESH), fresh=True)


def test_the_undamaged_world_gives_the_same_twice(world):
    for words in (words for part in READING.values() for words in part):
        expected = world.baseline(words)
        assert expected.code == 0, f"{' '.join(words)}: {expected.said}"
        world.restore()
        again = world.run(words)
        assert world.difference(again, words) == [], words
        world.restore()
