"""Weights that a model's files lack, which transformers draws at random without an error."""

from collections.abc import Iterable

#: Counters and tables that are no weights: a fresh one is as good.
_NO_WEIGHTS = ("num_batches_tracked", "position_ids")


def refuse_missing(missing: Iterable[str]) -> None:
    """Refuse a model of which some weights are not in its files.

    Args:
        missing: the names of what is missing, as ``from_pretrained(..., output_loading_info=True)`` has them.

    Raises:
        ValueError: there are any, with the first few.
    """
    lost = sorted(key for key in missing if not key.endswith(_NO_WEIGHTS))
    if lost:
        more = " and more" if len(lost) > 3 else ""
        raise ValueError(f"its files have no weights for {', '.join(lost[:3])}{more}, which would be random")
