"""What `windvane steer` refuses before it trains or opens anything large."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windvane.cli.steer.wishes import Manner, WishFlags
    from windvane.samplers import Sampler
    from windvane.tasks.steering.guides import SteeredModel

#: What SDG's protocol can guide by, alone or as `text+style`.
EVALUATED = ("text", "like", "content", "style")
_FILES = (".safetensors", ".pt", ".pth", ".ts", ".pt2")


def parse_weights(text: str | None, kinds: Sequence[str]) -> dict[str, float]:
    """`2` -> {"": 2.0} for all kinds; `text=1,style=0.5` -> by kind."""
    found: dict[str, float] = {}
    for part in (text or "").split(",") if text else []:
        name, equals, value = part.rpartition("=")
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        alone = text is not None and "," not in text
        if not abs(number) < float("inf") or (equals and name not in kinds) or not (equals or alone):
            raise ValueError(
                f"--weights takes one number, or kinds such as text=1,style=0.5, got {text!r}; "
                f"kinds: {', '.join(kinds)}"
            )
        found[name] = number
    return found


def parse_sweep(text: str | None) -> list[float]:
    """`0,0.5,1` -> [0.0, 0.5, 1.0]; nothing -> []."""
    if text is None:
        return []
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--sweep needs strengths such as 0,0.5,1,2, got {text!r}") from None
    if not all(abs(value) < float("inf") for value in found):
        raise ValueError(f"--sweep needs finite strengths, got {text!r}")
    return list(dict.fromkeys(found))


def parse_evaluate(text: str) -> tuple[str, ...]:
    """`text` -> ("text",); `text+style` -> ("text", "style")."""
    kinds = tuple(text.split("+"))
    if not set(kinds) <= set(EVALUATED) or len(set(kinds)) != len(kinds):
        raise ValueError(
            f"--evaluate is for text, like, content or style, or a mixture such as text+style, got {text!r}"
        )
    return kinds


def check_wishes(flags: "WishFlags", evaluated: Sequence[str]) -> None:
    """Refuse what cannot be wished for, before torch is imported.

    Args:
        evaluated: the kinds of SDG's protocol, where that is asked for instead of wishes.
    """
    for text in flags.text:
        if not text.strip():
            raise ValueError("--text is empty; say what to draw, such as --text 'a bold seven'")
    kinds = flags.kinds
    if evaluated and kinds:
        raise ValueError("--evaluate chooses its own texts or pictures; leave out the wishes")
    if not evaluated and not kinds:
        raise ValueError("nothing to steer by: give --text, --like, --content, --style, --class or --measure")
    idle = [kind for kind in flags.weights if kind and kind not in (*kinds, *evaluated)]
    if idle:
        raise ValueError(f"--weights has {', '.join(idle)}, and nothing of that kind is wished for")
    if flags.encoder is not None:
        _check_encoder(flags, evaluated)
    if flags.classifier is not None:
        if "class" not in kinds:
            raise ValueError("--classifier belongs to --class, which is not there")
        if flags.classifier.endswith(_FILES) and not Path(flags.classifier).is_file():
            raise ValueError(f"there is no classifier {flags.classifier}")
    for path in (*flags.like, *flags.content, *flags.style):
        if not path.is_file():
            raise ValueError(f"there is no picture {path}")


def _check_encoder(flags: "WishFlags", evaluated: Sequence[str]) -> None:
    assert flags.encoder is not None
    if not flags.encoder.startswith(("clip:", "siglip:", "sentences:")):
        raise ValueError(
            "--encoder takes clip:NAME_OR_FOLDER, siglip:NAME_OR_FOLDER or sentences:NAME_OR_FOLDER, got "
            f"{flags.encoder!r}"
        )
    if not (flags.looks or evaluated):
        raise ValueError("--encoder belongs to --text, --like, --content and --style, of which there is none")


def check_manner(
    flags: "WishFlags", evaluated: Sequence[str], target: "SteeredModel", manner: "Manner", sampler: "Sampler"
) -> None:
    """Refuse what cannot be done together, and files that do not fit: before any guide is trained."""
    from windvane.tasks.steering import check_method, check_noisy, open_measure, read_picture

    check_noisy(manner.preset, _blind(flags, evaluated, target))
    check_method(sampler=sampler, process=target.denoiser.process, **manner.options())
    for text in flags.measure:
        open_measure(text, target.shape)
    for path in (*flags.like, *flags.content, *flags.style):
        read_picture(path, target.shape)


def _blind(flags: "WishFlags", evaluated: Sequence[str], target: "SteeredModel") -> list[str]:
    """The wishes whose guides know clean pictures only."""
    latent = target.decode is not None
    looks = latent or (flags.encoder is not None and flags.sentences is None)
    names = latent or flags.classifier is not None
    return [
        title
        for kind, title in (*flags.titles, *((kind, kind) for kind in evaluated))
        if kind == "measure" or (names if kind == "class" else looks)
    ]
