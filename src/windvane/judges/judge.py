"""A small classifier trained on labelled images, for measuring only.

Its penultimate layer is also a feature space: Fréchet distances in a space made for the data say more about
    small pictures than a network trained on photographs does.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from windvane.damage import reading
from windvane.files import atomic_file
from windvane.hashes import tensors_hash

WIDTH = 64
_FORMAT = "windvane-judge-1"

Kind = Literal["mlp", "conv"]


class Judge:
    """A trained classifier of images ``shape`` (C, H, W) in [-1, 1] with 64 penultimate features.

    It is an extractor (`name`, `resize`, call) and a classifier (`classify`). `name` holds a hash of its
    weights, so that numbers from differently trained judges are never mixed up. Features are scaled by one
    constant so that the training images' total variance is 64: a Fréchet distance of 64 is then "as far as
    the data are wide".
    """

    dim = WIDTH
    resize = "none"

    def __init__(
        self, *, kind: Kind, shape: tuple[int, int, int], classes: int, report: dict[str, Any]
    ) -> None:
        self.kind, self.shape, self.classes, self.report = kind, shape, classes, dict(report)
        self.trunk = _trunk(kind, shape)
        self.head = _empty(nn.Linear, WIDTH, classes)
        self.scale = 1.0

    @property
    def name(self) -> str:
        """``judge-<kind>-<hash of architecture and weights>``."""
        digest = hashlib.sha256(json.dumps(self._config(), sort_keys=True).encode())
        for key, value in sorted(self.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return f"judge-{self.kind}-{digest.hexdigest()[:8]}"

    @property
    def accuracy(self) -> float | None:
        """Accuracy on images held out from its training, if it was measured."""
        return self.report.get("accuracy")

    def __call__(self, images: Tensor) -> Tensor:
        return self.features(images)

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features ``(B, 64)``."""
        return self.trunk(self._prepared(images)) * self.scale

    def classify(self, images: Tensor) -> Tensor:
        """Logits ``(B, classes)``; differentiable."""
        return self.head(self.trunk(self._prepared(images)))

    def to(self, device: torch.device | str) -> Self:
        """Move the weights; images follow by themselves."""
        self.trunk.to(device)
        self.head.to(device)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """All numbers of the judge by name."""
        state = {f"trunk.{key}": value for key, value in self.trunk.state_dict().items()}
        state |= {f"head.{key}": value for key, value in self.head.state_dict().items()}
        return state | {"scale": torch.tensor(self.scale, dtype=torch.float64)}

    def save(self, path: str | Path) -> None:
        """Write weights, architecture and report to one safetensors file."""
        from safetensors.torch import save_file

        tensors = {key: value.detach().cpu().contiguous() for key, value in self.state_dict().items()}
        about = {"format": _FORMAT, "config": json.dumps(self._config()), "report": json.dumps(self.report)}
        # Config and report take part: numbers are compared by the judge's name and trusted by its accuracy.
        about["content"] = _seal(about, tensors)
        with atomic_file(path) as temporary:
            save_file(tensors, temporary, metadata=about)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The judge that `save` wrote.

        Raises:
            ValueError: no file, another one, or a damaged one: its content is compared with the hash in it.
        """
        from safetensors import safe_open

        if not Path(path).is_file():
            raise ValueError(f"no judge at {str(path)!r}; make one with train_judge(...).save(path)")
        with reading(path), safe_open(str(path), framework="pt") as file:
            about = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        if about.get("format") != _FORMAT:
            raise ValueError(
                f"{str(path)!r} is not a judge: its format is {about.get('format')!r}, not {_FORMAT!r}"
            )
        with reading(path):
            if about.get("content", "") not in ("", _seal(about, tensors)):
                raise ValueError("its content does not have the hash that was noted when it was written")
            config = json.loads(about["config"])
            judge = cls(
                kind=config["kind"],
                shape=tuple(config["shape"]),
                classes=config["classes"],
                report=json.loads(about["report"]),
            )
            judge.scale = float(tensors.pop("scale"))
            for prefix, part in (("trunk.", judge.trunk), ("head.", judge.head)):
                part.load_state_dict(
                    {
                        key.removeprefix(prefix): value
                        for key, value in tensors.items()
                        if key.startswith(prefix)
                    }
                )
        return judge

    def _config(self) -> dict[str, Any]:
        return {"kind": self.kind, "shape": list(self.shape), "classes": self.classes}

    def _prepared(self, images: Tensor) -> Tensor:
        if tuple(images.shape[1:]) != self.shape:
            raise ValueError(f"this judge knows images {self.shape}, got {tuple(images.shape[1:])}")
        weight = next(self.head.parameters())
        return images.to(weight.device, weight.dtype)


def initialise(judge: Judge, random: torch.Generator) -> None:
    """Fresh weights from ``random``: He's normal law for weights, zeros for biases, ones for norms."""
    for part in (judge.trunk, judge.head):
        for module in part.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, generator=random)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.GroupNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)


def _empty(make: type[nn.Module], *sizes: int, **options: int) -> nn.Module:
    # Without the default initialisation, which would draw from (and advance) the global generator.
    with torch.device("meta"):
        module = make(*sizes, **options)
    return module.to_empty(device="cpu").float()  # whatever the default dtype: half stands still in training


def _seal(about: dict[str, str], tensors: dict[str, Tensor]) -> str:
    """The hash of a judge's file: its settings and its numbers."""
    told = json.dumps([about.get("config"), about.get("report"), tensors_hash(tensors)])
    return hashlib.sha256(told.encode()).hexdigest()


def _trunk(kind: Kind, shape: tuple[int, int, int]) -> nn.Sequential:
    channels, height, width = shape
    if kind == "mlp":
        return nn.Sequential(
            nn.Flatten(),
            _empty(nn.Linear, channels * height * width, 256),
            nn.GELU(),
            _empty(nn.Linear, 256, WIDTH),
            nn.GELU(),
        )
    if kind != "conv":
        raise ValueError(f"a judge is 'mlp' or 'conv', got {kind!r}")
    layers: list[nn.Module] = []
    sizes = [channels, 32, 64, 128]
    side = min(height, width)
    while side > 64:
        sizes.append(128)
        side //= 2
    for number, (before, after) in enumerate(zip(sizes, sizes[1:])):
        stride = 1 if number == 0 else 2
        layers += [
            _empty(nn.Conv2d, before, after, kernel_size=3, stride=stride, padding=1),
            _empty(nn.GroupNorm, 8, after),
            nn.GELU(),
        ]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), _empty(nn.Linear, sizes[-1], WIDTH), nn.GELU()]
    return nn.Sequential(*layers)
