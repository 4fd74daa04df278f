"""Image classifiers of other makers as class energies: transformers, TorchScript and exported programs."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from torch import Tensor, nn

from windvane.adapters.exported_programs import check_program, check_script, refusal
from windvane.adapters.hub import load_from_hub
from windvane.adapters.missing_weights import refuse_missing
from windvane.adapters.preprocess import Preprocess
from windvane.damage import Damaged, reading
from windvane.energies import ClassLogProb
from windvane.hub_access import plain_name

#: File suffixes of TorchScript and of torch.export.
SCRIPTS, PROGRAMS = (".pt", ".pth", ".ts"), (".pt2",)


class Classifier(nn.Module):
    """A frozen image classifier: pictures ``(B, C, H, W)`` in [-1, 1] to logits ``(B, K)``, with gradients.

    Made by :func:`load_classifier`. Any function or module with these shapes can be given to
    :class:`~windvane.energies.ClassLogProb` as it is; this one also knows its preprocessing and its names.

    Args:
        model: ``model(pixels)`` gives logits, or an output with ``.logits``, or a tuple beginning with them.
        preprocess: applied to the pictures first; None: the model sees them as they are.
        names: of the classes by id.
        source: what errors call it.
    """

    def __init__(
        self,
        model: Callable[[Tensor], Any],
        *,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        names: Mapping[int, str] | None = None,
        source: str = "classifier",
    ) -> None:
        super().__init__()
        self.model, self.preprocess, self.source = model, preprocess, source
        self.names = dict(names or {})

    def forward(self, x: Tensor) -> Tensor:
        seen = x if self.preprocess is None else self.preprocess(x)
        parameters = self.model.parameters() if isinstance(self.model, nn.Module) else iter(())
        parameter = next(parameters, None)
        output = self.model(seen if parameter is None else seen.to(parameter.dtype))
        logits = getattr(output, "logits", output[0] if isinstance(output, (tuple, list)) else output)
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(x):
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"{self.source} must give logits ({len(x)}, K), got {found}")
        return logits.to(x.dtype)

    def class_id(self, target: int | str) -> int:
        """The id of a class given by id or by name (upper and lower case alike, and one of several names).

        Raises:
            ValueError: no such name; close ones are listed.
        """
        if isinstance(target, int):
            return target
        wanted = target.strip().lower()
        for number, name in self.names.items():
            if wanted in (name.lower(), *(part.strip().lower() for part in name.split(","))):
                return number
        near = [name for name in self.names.values() if wanted in name.lower()][:5]
        known = near or list(self.names.values())[:5]
        hint = f"; it knows {', '.join(known)}, ..." if known else "; it tells no names, give an id"
        raise ValueError(f"{self.source} has no class {target!r}{hint}")

    def log_prob(
        self, target: int | str, *, tau_joint: float = 1.0, tau_marginal: float = 1.0
    ) -> ClassLogProb:
        """log p(target | x) as an energy, for a class by id or by name."""
        return ClassLogProb(
            self, self.class_id(target), tau_joint=tau_joint, tau_marginal=tau_marginal,
            name=f"class {target}",
        )  # fmt: skip


def load_classifier(
    name: str | Path,
    *,
    preprocess: Callable[[Tensor], Tensor] | None = None,
    names: Mapping[int, str] | None = None,
    revision: str | None = None,
    offline: bool | None = None,
    device: torch.device | str = "cpu",
    trust: bool = False,
) -> Classifier:
    """Open an image classifier from a file, a folder or the hub.

    - a file ``.pt``, ``.pth`` or ``.ts``: TorchScript, as ``torch.jit.save`` writes it;
    - a file ``.pt2``: an exported program, as ``torch.export.save`` writes it; export it with a dynamic batch
      dimension, in evaluation mode;
    - a folder or ``hub:owner/name``: ``AutoModelForImageClassification`` of transformers, with its own
      preprocessing and names.

    Args:
        preprocess: of pictures in [-1, 1], for files (see :class:`~windvane.adapters.preprocess.Preprocess`);
            for folders and hub names it replaces the model's own.
        names: of the classes, for files.
        device: of the classifier; a guide belongs where the denoiser is.
        trust: open a file although loading or running it could run code of whoever made it: pickles and
            compiled libraries in a ``.pt2``, programs in TorchScript that read or write files.

    Raises:
        ValueError: not there, or not readable; a plain pickle of weights, which is no program; a file that
            could run code, without ``trust``.
    """
    path = Path(name)
    if path.suffix in PROGRAMS + SCRIPTS and not path.is_dir():
        if not path.is_file():
            raise ValueError(f"there is no file {path}")
        if not trust:
            _check(path)
        model = _program(path, device) if path.suffix in PROGRAMS else _script(path, device)
        return Classifier(model, preprocess=preprocess, names=names, source=str(path))
    return _transformers(name, preprocess, revision, offline).to(device)


def _check(path: Path) -> None:
    try:
        if path.suffix in PROGRAMS:
            check_program(path)
        elif is_zipfile(path):  # what is none is no TorchScript either
            check_script(path)
    except Damaged as error:
        raise refusal(path, error) from None


def _script(path: Path, device: torch.device | str) -> nn.Module:
    try:
        model = torch.jit.load(str(path), map_location=torch.device(device)).eval()
    except RuntimeError as error:
        raise ValueError(
            f"{path} is no TorchScript: {str(error).splitlines()[0]}. Weights alone are no program; load "
            "them into their module and give that to ClassLogProb"
        ) from error
    # One by one: a script module refuses requires_grad_ itself.
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def _program(path: Path, device: torch.device | str) -> nn.Module:
    try:
        with reading(path):
            program = torch.export.load(str(path))
    except Damaged as error:
        raise ValueError(f"{path} is no program of torch.export: {error.reason}") from error
    if torch.device(device).type != "cpu":
        from torch.export.passes import move_to_device_pass

        # Not only the weights: devices are written into the operations of a program, too.
        program = move_to_device_pass(program, str(device))
    # An exported program has no training mode to leave; it is what it was at its export.
    return program.module().requires_grad_(False)


def _transformers(
    name: str | Path,
    preprocess: Callable[[Tensor], Tensor] | None,
    revision: str | None,
    offline: bool | None,
) -> Classifier:
    def load(only_local: bool, folder: Path) -> Classifier:
        from transformers import AutoModelForImageClassification

        # By its folder: a name is asked for on the network, for adapters, even where only files may be used.
        where, asked = (folder, None) if only_local else (plain_name(name), revision)
        loaded: Any = AutoModelForImageClassification.from_pretrained(
            str(where), revision=asked, local_files_only=only_local, output_loading_info=True
        )
        model, told = loaded
        refuse_missing(told["missing_keys"])  # a model without a head gets a random one
        model.eval().requires_grad_(False)
        side = getattr(model.config, "image_size", 224)
        side = side if isinstance(side, int) else side[0]
        own = Preprocess.from_folder(folder, model.config.model_type, side)
        labels = {int(number): str(label) for number, label in (model.config.id2label or {}).items()}
        return Classifier(model, preprocess=preprocess or own, names=labels, source=str(name))

    return load_from_hub(name, load, what="image classifier", revision=revision, offline=offline)
