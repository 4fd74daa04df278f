"""A picture of a search once more: the same search, made anew in a folder that goes away."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.common.again.orders import config_of, hashes
from windvane.cli.common.again.original import Original
from windvane.damage import reading

if TYPE_CHECKING:
    from PIL.Image import Image


def searched_again(original: Original) -> "tuple[Image, dict[str, Any]]":
    """The picture that the search comes to now, and the settings inside it.

    Raises:
        ValueError: damaged settings, or a reward in a file of code, which no picture may run.
    """
    from windvane.cli.common.models import open_model
    from windvane.cli.search.methods import settings_for
    from windvane.cli.search.rewards import check_rewards, is_code
    from windvane.cli.search.run import SAMPLES, SearchOrder, search_model
    from windvane.pictures import read_pixels, read_settings, to_picture
    from windvane.search import Budget

    image, settings = original.image, original.settings
    if not isinstance(settings.get("order"), dict):
        raise ValueError(
            f"{image} does not say how it was found; windvane search with the same flags makes it again"
        )
    place = original.place(settings["order"])
    with reading(image):
        order, method = settings["order"], str(settings["method"])
        rewards = [str(reward) for reward in order["reward"]]
        section = config_of(order).sample
        own = settings_for(
            method, [f"{name}={value}" for name, value in settings["settings"].items() if value != ""]
        )
        limits = {name: order["budget"][name] for name in ("network", "verifier")}
        if any(limit is not None and type(limit) is not int for limit in limits.values()):
            raise ValueError(f"its budget is {str(limits):.60}")
        budget, name, until = Budget(**limits), str(order["picture"]), order["rows"]
        if name not in ("best.png", "samples.png") and not (Path(name).parts[:-1] == (SAMPLES,)):
            raise ValueError(f"no search leaves a picture {name!r:.60}")
        files, sha256 = sorted(settings["reward_files"].values()), str(settings["weights_sha256"])
    coded = [reward for reward in rewards if is_code(reward)]
    if coded:
        original.refuse_code(f"was found by the reward {coded[0][:80]}, a file of code")
    check_rewards(rewards)
    if files != sorted(hashes([reward[5:] for reward in rewards if reward.startswith("like:")]).values()):
        original.differ(f"a picture that {image} was to be like is another one now")
    if open_model(place, weights=section.weights, device=original.device).sha256 != sha256:
        original.differ(f"the {section.weights} weights of {place} are not those that made {image}")
    with tempfile.TemporaryDirectory(prefix="windvane-search-") as folder:
        search_model(
            SearchOrder(place, rewards, method, own, section),
            out=Path(folder),
            budget=budget,
            resume=False,
            weight_given=False,
            device=original.device,
            until=until if type(until) is int else None,
        )
        made = Path(folder) / name
        return to_picture(read_pixels(made)), read_settings(made)
