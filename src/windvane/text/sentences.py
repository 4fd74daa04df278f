"""Sentences about images: what can be said of each one, and many ways of saying it.

A *fact* is one thing that may be said of an image: its label, or a trait that is measured on its pixels. A
sentence mentions some facts; it is true of every image that has them, whichever image it was made for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from windvane.data import ImageData

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
STROKES = (("thin", "light", "fine"), ("bold", "thick", "heavy"))
SLANTS = (("upright", "straight"), ("slanted", "leaning", "italic"))
TONES = (("dark",), ("bright",))
_DIGIT_FRAMES = (
    "a {} {}",
    "a handwritten {} {}",
    "the {} {}",
    "a picture of a {} {}",
    "an image of a handwritten {} {}",
    "the number {} {}",
    "the digit {} {}",
    "a drawing of the {} {}",
    "somebody wrote a {} {}",
    "{} {}",
)
_FRAMES = (
    "a {} {}",
    "the {} {}",
    "a picture of a {} {}",
    "an image of the {} {}",
    "a photo of a {} {}",
    "{} {}",
)
_MENTIONED = 0.8


@dataclass(frozen=True)
class Described:
    """What is true of each of n images, and the words for it.

    Args:
        facts: ``(n, F)`` int64: the value of fact f for image i, -1 where there is nothing to say.
        words: for each fact, for each value, the words that mean it. Fact 0 is the noun, the others are
            adjectives.
        frames: sentences with a place for the adjectives and one for the noun.
        nouns: what stands for the noun where it is not mentioned; none: it always is.
        why: where the words are from.
    """

    facts: Tensor
    words: tuple[tuple[tuple[str, ...], ...], ...]
    frames: tuple[str, ...]
    nouns: tuple[str, ...] = ()
    why: str = ""

    def __len__(self) -> int:
        return len(self.facts)

    def rows(self, index: Tensor) -> "Described":
        """The same for some of the images."""
        return Described(self.facts[index], self.words, self.frames, self.nouns, self.why)

    def draw(self, index: Tensor, random: torch.Generator) -> tuple[list[str], Tensor]:
        """A sentence for each image of ``index`` ``(B,)``, and what it mentions, ``(B, F)``, -1: not."""
        facts = self.facts[index]
        chance = torch.rand(facts.shape, generator=random)
        kept = chance < torch.tensor([_MENTIONED if self.nouns else 1.0] + [0.5] * (facts.shape[1] - 1))
        # A sentence says something: the noun is kept where nothing else would be left.
        kept[:, 0] |= ~((facts[:, 1:] >= 0) & kept[:, 1:]).any(1)
        mentioned = torch.where(kept, facts, -1)
        choices = torch.randint(1 << 30, (len(facts), facts.shape[1] + 1), generator=random).tolist()
        return [self.say(row, choice) for row, choice in zip(mentioned.tolist(), choices)], mentioned

    def say(self, mentioned: Sequence[int], choice: Sequence[int] | None = None) -> str:
        """The sentence that mentions these values; ``choice`` picks the frame and each fact's word."""
        pick = list(choice or [0] * (len(mentioned) + 1))
        said = [
            self.words[f][value][pick[f + 1] % len(self.words[f][value])] if value >= 0 else ""
            for f, value in enumerate(mentioned)
        ]
        noun = said[0] or (self.nouns[pick[1] % len(self.nouns)] if self.nouns else "")
        frame = self.frames[pick[0] % len(self.frames)]
        return " ".join(frame.format(" ".join(filter(None, said[1:])), noun).split())

    def true_of(self, mentioned: Tensor, facts: Tensor | None = None) -> Tensor:
        """Which sentence ``(S, F)`` is true of which image ``(n, F)``: bool ``(S, n)``."""
        facts = self.facts if facts is None else facts
        wanted, there = mentioned[:, None], facts[None]
        return ((wanted == -1) | (wanted == there)).all(-1)

    def candidates(self) -> tuple[list[str], Tensor]:
        """One sentence for every label, alone and with each adjective; what they mention, ``(S, F)``.

        Sentences that are true of no image are left out.
        """
        count = self.facts.shape[1]
        rows = [[value] + [-1] * (count - 1) for value in range(len(self.words[0]))]
        for fact in range(1, count):
            for value in range(len(self.words[fact])):
                rows += [[*row[:fact], value, *row[fact + 1 :]] for row in rows[: len(self.words[0])]]
        mentioned = torch.tensor(rows)
        mentioned = mentioned[self.true_of(mentioned).any(1)]
        return [self.say(row) for row in mentioned.tolist()], mentioned

    def understood(self, text: str) -> list[int]:
        """What a text mentions, ``F`` values: the one value of each fact of which a word is in it, or -1."""
        said = set(words_of(text))
        found = []
        for values in self.words:
            meant = [k for k, words in enumerate(values) if any(said >= set(words_of(w)) for w in words)]
            found.append(meant[0] if len(meant) == 1 else -1)
        return found


def ink_and_slant(images: Tensor) -> tuple[Tensor, Tensor]:
    """How much ink each grey image ``(n, C, H, W)`` in [-1, 1] has, and how far it leans to the right.

    Ink is the mean of (x + 1) / 2. The slant is -cov(column, row) / var(row) under the ink's distribution:
    the columns by which the writing moves to the right for each row upwards.
    """
    ink = (images.mean(1).double() + 1).clamp(min=0) / 2
    rows = torch.arange(ink.shape[1], dtype=torch.float64)[:, None]
    columns = torch.arange(ink.shape[2], dtype=torch.float64)[None]
    weight = ink / ink.sum((1, 2), keepdim=True).clamp(min=1e-12)
    row = rows - (weight * rows).sum((1, 2))[:, None, None]
    column = columns - (weight * columns).sum((1, 2))[:, None, None]
    return ink.mean((1, 2)), -(weight * row * column).sum((1, 2)) / (weight * row**2).sum((1, 2)).clamp(
        min=1e-12
    )


def thirds(values: Tensor, groups: Tensor) -> Tensor:
    """0 for the lowest third of each group, 1 for the highest, -1 in between: ``(n,)`` int64."""
    found = torch.full((len(values),), -1, dtype=torch.int64)
    for group in groups.unique().tolist():
        here = (groups == group).nonzero().flatten()
        order = here[values[here].argsort()]
        third = len(order) // 3
        found[order[:third]] = 0
        found[order[len(order) - third :]] = 1
    return found


def describe(data: ImageData) -> Described:
    """What the labels and the pixels of ``data`` say of its images.

    The embedded digits are told by number words and numerals, as thin or bold and as upright or slanted;
    other images by the names of their labels, or by their numbers where they have no names, and as dark or
    bright. Traits are relative to the images of the same label: the lowest third has one, the highest third
    the other. Labels of the same words are one thing to say, and a name without a letter says nothing.

    Raises:
        ValueError: images without labels; use :func:`from_captions`.
    """
    if data.labels is None or bool((data.labels < 0).all()):
        raise ValueError("these images have no labels to make sentences of; give captions, one an image")
    names = data.label_names or [str(k) for k in range(int(data.labels.max()) + 1)]
    labels = data.labels.long()
    images = data.batch(slice(None))
    ink, slant = ink_and_slant(images)
    if data.origin == "digits":
        nouns = tuple((NUMBERS[int(name)], name) for name in names)
        facts = torch.stack([labels, thirds(ink, labels), thirds(slant, labels)], 1)
        why = "number words and numerals of the embedded digits, and how their strokes measure"
        return Described(facts, (nouns, STROKES, SLANTS), _DIGIT_FRAMES, ("digit", "number", "figure"), why)
    said = [" ".join(words_of(name)) for name in names]
    different = list(dict.fromkeys(filter(None, said)))
    place = {name: k for k, name in enumerate(different)}
    noun = torch.tensor([*(place.get(name, -1) for name in said), -1])[labels]
    facts = torch.stack([noun, thirds(ink, labels)], 1)
    kind = "numbers" if data.label_names is None else "names"
    given = "" if data.names_from is None else f" from {data.names_from}"
    why = f"{kind} of {len(names)} classes{given}, and how bright the pixels are"
    return Described(facts, (tuple((name,) for name in different), TONES), _FRAMES, ("picture", "image"), why)


def from_captions(captions: Sequence[str]) -> Described:
    """Images with a caption each, used as they are; equal captions are true of each other's images."""
    known = list(dict.fromkeys(captions))
    place = {caption: k for k, caption in enumerate(known)}
    facts = torch.tensor([place[caption] for caption in captions]).reshape(-1, 1)
    return Described(facts, (tuple((caption,) for caption in known),), ("{}{}",), why="the captions")


def words_of(text: str) -> list[str]:
    """The words of a text: lower case, letters and numerals only."""
    plain = "".join(c if c.isalnum() else " " for c in text.lower())
    return plain.split()
