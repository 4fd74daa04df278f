"""What one row of the catalogue is: a published system, its papers, and how far Windvane has it."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

State = Literal["works", "planned"]

_COMMON = {"diffusion", "model", "models", "with", "from", "your", "more"}
_JOURNALS = {"ApJS", "Medical Image Analysis"}

KINDS = (
    "annotation",
    "guidance",
    "inverse",
    "search",
    "solver",
    "process",
    "acceleration",
    "distillation",
    "backbone",
    "training",
    "fine-tuning",
    "personalisation",
    "joint",
    "task",
    "series",
    "discrete",
    "flow",
    "video",
    "evaluation",
    "optimisation",
)


@dataclass(frozen=True)
class Paper:
    """One publication. `authors` are family names; a last `"others"` stands for the rest of a long list."""

    title: str
    authors: tuple[str, ...]
    year: int
    venue: str | None = None
    arxiv: str | None = None

    @property
    def key(self) -> str:
        """BibTeX key: first author, year, first telling word of the title, in plain lower-case letters."""
        words = [_plain(word) for word in re.split(r"[\s:,-]+", self.title)]
        first = next((word for word in words if len(word) > 3 and word not in _COMMON), words[0])
        return f"{_plain(self.authors[0])}{self.year}{first}"

    @property
    def link(self) -> str | None:
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else None

    @property
    def short(self) -> str:
        """`Hu et al., CVPR 2023`: how the paper is named in a table."""
        if len(self.authors) == 1:
            names = self.authors[0]
        elif len(self.authors) == 2 and "others" not in self.authors:
            names = " and ".join(self.authors)
        else:
            names = f"{self.authors[0]} et al."
        return f"{names}, {self.venue} {self.year}" if self.venue else f"{names}, {self.year}"

    def bibtex(self) -> str:
        fields = {"title": f"{{{self.title}}}", "author": " and ".join(self.authors), "year": str(self.year)}
        kind = "misc"
        if self.venue in _JOURNALS:
            kind, fields["journal"] = "article", self.venue
        elif self.venue:
            kind, fields["booktitle"] = "inproceedings", self.venue
        if self.arxiv:
            fields["eprint"], fields["archiveprefix"], fields["url"] = self.arxiv, "arXiv", self.link or ""
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
        return "\n".join([f"@{kind}{{{self.key},", *lines, "}"])


@dataclass(frozen=True)
class Part:
    """One of several things that a system gives, with what a :class:`System` says of its main one.

    `callable` is the dotted name, `test` and `reproduction` are paths from the repository root; a part that
    claims no figures has no reproduction.
    """

    gives: str
    callable: str
    test: str
    reproduction: str | None = None


@dataclass(frozen=True)
class System:
    """One published system.

    `callable` is the dotted name that gives the system to a user, `test` and `reproduction` are paths from
    the repository root. All three are None while the state is "planned". `parts` are what else it gives.
    `limits` is what a user should know before relying on it: what it needs, and where it is known to fail.
    """

    slug: str
    title: str
    kind: str
    gives: str
    limits: str
    papers: tuple[Paper, ...]
    state: State = "planned"
    callable: str | None = None
    test: str | None = None
    reproduction: str | None = None
    parts: tuple[Part, ...] = ()

    @property
    def paper(self) -> Paper:
        """The publication that the system is named after; the others in `papers` are what it stands on."""
        return self.papers[0]


def _plain(word: str) -> str:
    letters = unicodedata.normalize("NFKD", word).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]", "", letters.lower())
