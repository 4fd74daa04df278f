"""Images and texts in one space, at any noise level."""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from windvane.adapters import SentenceEncoder, load_sentence_encoder
from windvane.damage import reading
from windvane.files import FolderKind, atomic_folder, recover_folder
from windvane.hashes import check_hash, file_hash, read_sealed, sealed
from windvane.process import Process, expand
from windvane.randomness import scoped_seed
from windvane.text.towers import CLEAN, ImageTower, SentenceTower, TextTower
from windvane.text.words import Vocabulary

if TYPE_CHECKING:
    from windvane.energies import TextSimilarity

FORMAT = 1
_WORDS, _SENTENCES = f"windvane-text-{FORMAT}", f"windvane-sentences-{FORMAT}"
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
# Models of transformers have files of these names, too, but not these settings.
_KIND = FolderKind("a text encoder", {_CONFIG: ("format", "shape", "dim", "width", "about")}, (_WEIGHTS,))


class TextImageEncoder(nn.Module):
    """A small pair of encoders with one space: ``image(x)`` and ``text(["a bold seven"])``, both ``(B, D)``.

    The image side is noise-aware, so that it can be asked about x_t as well as about predictions of x0; the
    text side reads a bag of known words, or what a frozen sentence encoder makes of any text. Made by
    :func:`~windvane.text.train_text_encoder`, which leaves it in evaluation mode and without gradients.

    Args:
        shape: (C, H, W) of the images, values in [-1, 1].
        texts: the words of the text side, or a sentence encoder. That one is kept by name, not with the
            weights, stays on its own device, and is ``sentences``, as words are ``vocabulary``.
        about: what else to remember: how it was trained, and how good it is.
    """

    def __init__(
        self,
        shape: Sequence[int],
        texts: Vocabulary | SentenceEncoder,
        *,
        dim: int = 64,
        width: int = 32,
        about: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.looking = ImageTower(shape, dim, width)
        self.vocabulary = texts if isinstance(texts, Vocabulary) else None
        # In a tuple, for a module of this one would be among its weights.
        self._sentences: tuple[SentenceEncoder, ...] = () if isinstance(texts, Vocabulary) else (texts,)
        self.reading = (
            TextTower(len(texts), dim) if isinstance(texts, Vocabulary) else SentenceTower(texts.size, dim)
        )
        self.sharpness = nn.Parameter(torch.tensor(math.log(10.0)))
        self.about = dict(about or {})

    @property
    def sentences(self) -> SentenceEncoder | None:
        """The frozen encoder of sentences, where the text side has one."""
        return self._sentences[0] if self._sentences else None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images it looks at."""
        return self.looking.shape

    @property
    def name(self) -> str:
        """``text-image-<hash of weights>``: tells encoders apart that were trained differently."""
        digest = hashlib.sha256()
        for key, value in sorted(self.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        if self.sentences is not None:
            digest.update(self.sentences.fingerprint.encode())
        return f"text-image-{digest.hexdigest()[:8]}"

    def image(self, x: Tensor, log_snr: Tensor | None = None) -> Tensor:
        """Embeddings ``(B, D)`` of length 1: clean images, or x_t / sqrt(alpha^2 + sigma^2) at a log-SNR."""
        return F.normalize(self.looking(x, _levels(x, log_snr)), dim=1)

    def maps(self, x: Tensor, log_snr: Tensor | None = None) -> list[Tensor]:
        """Feature maps ``(B, C_j, H_j, W_j)`` of every stage."""
        return self.looking.maps(x, _levels(x, log_snr))

    def text(self, texts: Sequence[str], *, warn: bool = True) -> Tensor:
        """Embeddings ``(S, D)`` of length 1.

        Raises:
            ValueError: a text of which no word says anything that is known; the known words are listed. A
                sentence encoder refuses empty texts only.
        """
        device = self.sharpness.device
        if self.vocabulary is None:
            return F.normalize(self.reading(self._sentences[0](texts).to(device)), dim=1)
        places, begins = self.vocabulary.bag(texts, warn=warn)
        return F.normalize(self.reading(places.to(device), begins.to(device)), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.image(x)

    def at(self, process: Process, *, maps: bool = False) -> "Look":
        """``look(x_t, t)`` for the times of a process: what energies with ``timed=True`` take."""
        return Look(self, process, maps=maps)

    def energy(self, text: str | list[str], process: Process) -> "TextSimilarity":
        """cos(E(x, t), T(text)), for x_t and for predictions of x0 alike."""
        from windvane.energies import TextSimilarity

        return TextSimilarity.of(self.at(process), self.text, text, timed=True)

    def save(self, path: str | Path) -> Path:
        """Write a folder with config.json and model.safetensors, at once; an old one at ``path`` is replaced.

        Raises:
            ValueError: ``path`` is a file, or a folder with anything else in it.
        """
        from safetensors.torch import save_file

        tensors = {key: value.detach().cpu().contiguous() for key, value in self.state_dict().items()}
        with atomic_folder(path, _KIND) as folder:
            save_file(tensors, folder / _WEIGHTS)
            config = sealed({**self._config(), "hashes": {_WEIGHTS: file_hash(folder / _WEIGHTS)}})
            (folder / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        return Path(path)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        sentences: str | Path | SentenceEncoder | None = None,
        offline: bool | None = None,
    ) -> Self:
        """The encoder in a folder that :meth:`save` wrote.

        Args:
            sentences: where its sentence encoder is now, if not at the name or folder it was trained with.
            offline: never ask the network for that; None asks the environment (``HF_HUB_OFFLINE``).

        Raises:
            ValueError: no such encoder there, a damaged one, or one of a newer format; its sentence encoder
                cannot be opened, or is not the one it was trained with.
        """
        from safetensors.torch import load_file

        folder = recover_folder(path)
        if not (folder / _CONFIG).is_file() or not (folder / _WEIGHTS).is_file():
            raise ValueError(f"{folder} has no text encoder: {_CONFIG} and {_WEIGHTS} are looked for")
        config = read_sealed(folder / _CONFIG)
        if config.get("format") not in (_WORDS, _SENTENCES):
            raise ValueError(
                f"{folder} has the format {config.get('format')!r}, not {_WORDS} or {_SENTENCES}; "
                "a CLIP or SigLIP model is opened by its own adapter"
            )
        with reading(folder / _CONFIG):
            told = {name: config[name] for name in ("dim", "width", "about")}
            shape, kept = config["shape"], config["words" if config["format"] == _WORDS else "sentences"]
            words = Vocabulary(kept["telling"], kept["filling"]) if config["format"] == _WORDS else None
            check_hash(folder / _WEIGHTS, config.get("hashes", {}).get(_WEIGHTS))
        texts = _reopened(kept, sentences, offline) if words is None else words
        with reading(folder / _CONFIG), scoped_seed(0):  # weights are drawn before they are filled
            made = cls(shape, texts, **told)
        with reading(folder / _WEIGHTS):
            made.load_state_dict(load_file(folder / _WEIGHTS))
        return made.eval().requires_grad_(False)

    def _config(self) -> dict[str, Any]:
        read = self.sentences
        return {
            "format": _WORDS if read is None else _SENTENCES,
            "shape": list(self.shape),
            "dim": self.looking.dim,
            "width": self.looking.width,
            **({} if self.vocabulary is None else {"words": self.vocabulary.to_config()}),
            **({} if read is None else {"sentences": _identity(read)}),
            "about": self.about,
        }


class Look(nn.Module):
    """An encoder at the times of a process: ``look(x_t, t)`` with t float64 ``(B,)``.

    x_t is scaled to x_t / sqrt(alpha^2 + sigma^2), so that one encoder serves every process.
    """

    def __init__(self, encoder: Any, process: Process, *, maps: bool = False) -> None:
        super().__init__()
        self.encoder, self.process, self.with_maps = encoder, process, maps

    def forward(self, x_t: Tensor, t: Tensor) -> Any:
        times = t.to("cpu", torch.float64)
        alpha, sigma = self.process.scales(times)
        x = x_t / expand(torch.sqrt(alpha**2 + sigma**2), x_t)
        log_snr = self.process.log_snr(times).to(x_t)  # float64 is not on every device
        return self.encoder.maps(x, log_snr) if self.with_maps else self.encoder.image(x, log_snr)


def _levels(x: Tensor, log_snr: Tensor | None) -> Tensor:
    return x.new_full((len(x),), CLEAN) if log_snr is None else log_snr


def _identity(sentences: SentenceEncoder) -> dict[str, Any]:
    return {
        "name": sentences.source,
        "revision": sentences.revision,
        "fingerprint": sentences.fingerprint,
    }


def _reopened(
    kept: dict[str, Any], given: str | Path | SentenceEncoder | None, offline: bool | None
) -> SentenceEncoder:
    if isinstance(given, SentenceEncoder):
        found = given
    else:
        revision = kept["revision"] if given is None else None
        found = load_sentence_encoder(given or kept["name"], revision=revision, offline=offline)
    if found.fingerprint != kept["fingerprint"]:
        raise ValueError(
            f"this text encoder was trained with the sentence encoder {kept['name']!r} of fingerprint "
            f"{kept['fingerprint']}; {found.source!r} is another one, {found.fingerprint}"
        )
    return found
