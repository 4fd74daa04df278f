"""Flags that stand for settings, by one table, and what a user gave of them."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

if TYPE_CHECKING:
    from windvane.cli.common.config import Config

#: Of --minutes: two years.
MOST_MINUTES = 1_000_000.0
MODEL = "Folder of a run, of a model, or of a diffusers pipeline, or a pipeline's name on the hub."


def _flag(kind: Any, name: str, help: str | None = None, **more: Any) -> Any:
    return Annotated[kind | None, typer.Option(*name.split(), help=help, **more)]


#: By the setting that each one gives.
FLAGS: Mapping[str, Any] = {
    "data.source": Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="digits, a folder, a .parquet, .npy or .npz file, or hub:NAME."),
    ],
    "data.size": _flag(int, "--size", "Side of the images in pixels."),
    "data.names": _flag(str, "--names", "Names of the classes: one a line, or id,name.", metavar="FILE"),
    "data.strict": _flag(bool, "--strict", "Refuse data with unreadable images."),
    "annotate.features": _flag(
        str, "--features", "selfsup[:STEPS], pca[:N], pixels, denoiser:RUN, or hub:NAME."
    ),
    "annotate.k": _flag(str, "--k", "Number of clusters, or auto."),
    "annotate.boxes": _flag(bool, "--boxes", "Find one box an image too, by LOST or --method ncut."),
    "annotate.masks": _flag(int, "--masks", "Find masks of K ids instead of clusters.", metavar="K"),
    "annotate.dense": _flag(
        str,
        "--dense",
        "For boxes and masks: restoration, patches[:SIZE], encoder, denoiser:RUN, hub:NAME[@ENLARGE].",
    ),
    "annotate.coco": _flag(Path, "--coco", "Take boxes or masks from this COCO-style JSON."),
    "annotate.overlap": _flag(
        str, "--overlap", "Of masks of --coco, on top is the smaller or the later one; or refuse."
    ),
    "annotate.control": _flag(
        str,
        "--control",
        "Instead of clusters: random, noise:RATIO, split:PARTS, grey; labels, labels+split:5. Of "
        "boxes and masks: shuffled (to other images), moved (within theirs).",
    ),
    "annotate.seed": _flag(int, "--seed"),
    "train.steps": _flag(int, "--steps", "Training steps."),
    "train.batch_size": _flag(int, "--batch-size", "Images per step."),
    "train.learning_rate": _flag(float, "--lr", "Learning rate."),
    "train.seed": _flag(int, "--seed"),
    "train.precision": _flag(str, "--precision", "no or bf16."),
    "sample.n": _flag(int, "--n", "How many pictures."),
    "sample.seed": _flag(int, "--seed", "Seed of the first; the next has seed + 1."),
    "sample.cluster": _flag(int, "--cluster", "This cluster (or label) for all."),
    "sample.condition": _flag(str, "--condition", "Draw clusters: empirical, uniform, or none."),
    "sample.boxes": _flag(
        Path, "--boxes", "Where objects shall be: COCO-style JSON, or [[left,top,right,bottom],...]."
    ),
    "sample.mask": _flag(Path, "--mask", "Which id every pixel shall have: a PNG, or a folder of them."),
    "sample.like": _flag(
        Path, "--like", "A picture, or a folder of them: ask for its cluster, or boxes or mask found in it."
    ),
    "sample.weight": _flag(float, "--weight", "Guidance: 1 the conditional model, 0 the unconditional."),
    "sample.guidance": _flag(
        list[str],
        "--guidance",
        "Guidance by name, such as autoguidance:weak=RUN; repeatable. See windvane settings sample.",
        metavar="NAME[:OPTION=VALUE,...]",
    ),
    "sample.interval": _flag(str, "--interval", "Guide at these noise levels only.", metavar="LOW,HIGH"),
    "sample.sampler": _flag(
        str, "--sampler --solver", "ddim, dpm++2m, unipc3, ...; windvane settings lists them."
    ),
    "sample.steps": _flag(int, "--steps", "Sampling steps."),
    "sample.grid": _flag(str, "--grid", "Where the steps are: uniform log_snr edm quadratic."),
    "sample.batch_size": _flag(int, "--batch-size", "Pictures at a time."),
    "sample.weights": _flag(str, "--weights", "ema or raw."),
    "sample.compile": _flag(bool, "--compile", "Compile the network first: pays for many pictures."),
    "evaluate.n": _flag(int, "--n", "Pictures to make when a run is evaluated."),
    "evaluate.features": _flag(str, "--features", "auto, judge, selfsup, pca[:N], pixels, hub:NAME."),
    "evaluate.metrics": _flag(list[str], "--metric", "Only this metric; repeatable."),
    "config": _flag(Path, "--config", "YAML file with settings (sections as in --set).", metavar="FILE"),
    "preset": _flag(str, "--preset", "Starting point by data size: digits, small32, cifar.", metavar="NAME"),
    "set": _flag(
        list[str],
        "--set",
        "Any setting, e.g. train.steps=500; repeatable. See windvane settings.",
        metavar="A.B=VALUE",
    ),
}
Preset = FLAGS["preset"]
Reference = _flag(str, "--reference", "Images to compare with.", metavar="DATA")


@dataclass
class UserSettings:
    """What a user gave: settings by flags, a file, a preset, and settings by ``--set``.

    Args:
        flags: dotted setting -> value, of the flags that were given.
    """

    flags: dict[str, Any]
    file: Path | None = None
    preset: str | None = None
    settings: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.flags or self.file or self.settings)

    def names(self, setting: str) -> bool:
        """Whether a flag or ``--set`` says it; a file or an earlier run does not count."""
        return setting in self.flags or any(text.startswith(f"{setting}=") for text in self.settings)

    def config(
        self, base: Mapping[str, Any] | None = None, defaults: Mapping[str, Any] | None = None
    ) -> "Config":
        """The configuration: ``base``, the file, the flags and ``--set``, checked.

        Args:
            base: settings of an earlier run.
            defaults: settings as if by flags, where these were not given.
        """
        from windvane.cli.common.config import make_config

        flags = {**(defaults or {}), **self.flags}
        return make_config(base=base, file=self.file, preset=self.preset, flags=flags, settings=self.settings)


def with_settings(order: str, **helps: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Flags of settings for a command, which gets what was given of them as its argument ``user``.

    Args:
        order: of all its flags in the help: names of its own parameters, and settings of :data:`FLAGS`.
        **helps: other help for some of the latter, by the last part of the name.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command).parameters
        shown, flags = [], {}
        for word in order.split():
            name = word.rpartition(".")[2]
            if word not in own:
                flags[name] = word
            annotation = own[word].annotation if word in own else _helped(FLAGS[word], helps.get(name))
            default = own[word].default if word in own else None
            keyword = inspect.Parameter.KEYWORD_ONLY
            shown.append(inspect.Parameter(name, keyword, default=default, annotation=annotation))

        def call(**values: Any) -> None:
            named = {setting: _value(name, values.pop(name)) for name, setting in flags.items()}
            file, preset, settings = (named.pop(name, None) for name in ("config", "preset", "set"))
            present = {setting: value for setting, value in named.items() if value is not None}
            command(user=UserSettings(present, file, preset, settings or []), **values)

        call.__name__, call.__doc__ = command.__name__, command.__doc__
        call.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        call.__annotations__ = {}
        return call

    return decorate


def _helped(annotation: Any, help: str | None) -> Any:
    if help is None:
        return annotation
    kind, option = get_args(annotation)
    named = (option.default, *(option.param_decls or ()))
    return Annotated[kind, typer.Option(*named, help=help, metavar=option.metavar)]


def _value(name: str, value: Any) -> Any:
    """As a configuration has it; None for what was not given."""
    if name == "interval":
        return parse_interval(value)
    if isinstance(value, Path) and name != "config":
        return str(value)
    return None if isinstance(value, list) and not value else value


def parse_interval(text: str | None) -> list[float] | None:
    """`0.3,5` -> [0.3, 5.0]; `inf` is allowed as the upper end."""
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--interval needs two noise levels LOW,HIGH such as 0.3,5, got {text!r}") from None
    return [low, high]
