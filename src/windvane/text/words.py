"""The words that a text encoder knows, and what it says about those it does not."""

import warnings
from collections.abc import Sequence
from difflib import get_close_matches

import torch
from torch import Tensor

from windvane.text.sentences import words_of


class UnknownWords(UserWarning):
    """Words of a text that the encoder has never seen, and leaves out."""


class Vocabulary:
    """Words in a fixed order, those that carry meaning and those that only fill a sentence.

    Args:
        telling: words that say something about an image.
        filling: words of sentences that do not; a text of these alone is refused.
    """

    def __init__(self, telling: Sequence[str], filling: Sequence[str]) -> None:
        self.telling = list(dict.fromkeys(telling))
        self.filling = [word for word in dict.fromkeys(filling) if word not in set(self.telling)]
        self._place = {word: k for k, word in enumerate([*self.telling, *self.filling])}

    def __len__(self) -> int:
        return len(self._place)

    def bag(self, texts: Sequence[str], *, warn: bool = True) -> tuple[Tensor, Tensor]:
        """The places of all known words, one after another, and where each text begins.

        Raises:
            ValueError: a text without a single word that says something about an image.

        Warns:
            UnknownWords: words that are left out, with the nearest known one.
        """
        places: list[int] = []
        begins: list[int] = []
        strange: list[str] = []
        for text in texts:
            begins.append(len(places))
            words = words_of(text)
            known = [word for word in words if word in self._place]
            strange += [word for word in words if word not in self._place]
            if not set(known) & set(self.telling):
                raise ValueError(
                    f"the text {text!r} says nothing that this encoder understands{self._hint(words)}; "
                    f"it knows: {', '.join(self.telling)}"
                )
            places += [self._place[word] for word in known]
        if strange and warn:
            named = ", ".join(repr(word) for word in dict.fromkeys(strange))
            warnings.warn(
                f"the text encoder does not know {named} and leaves this out{self._hint(strange)}; "
                f"it knows: {', '.join(self.telling)}",
                UnknownWords,
                stacklevel=3,
            )
        return torch.tensor(places), torch.tensor(begins)

    def _hint(self, words: Sequence[str]) -> str:
        near = [get_close_matches(word, self.telling, n=1, cutoff=0.6) for word in words]
        found = [match[0] for word, match in zip(words, near) if match and word not in self._place]
        return f" (did you mean {', '.join(repr(word) for word in dict.fromkeys(found))}?)" if found else ""

    def to_config(self) -> dict[str, list[str]]:
        """JSON-able."""
        return {"telling": self.telling, "filling": self.filling}
