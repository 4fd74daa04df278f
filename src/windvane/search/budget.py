"""What a search may spend and what it has spent: network evaluations in rows, and rewards in rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from windvane.evaluations import count_evaluations


@dataclass(frozen=True)
class Spent:
    """Network calls, their rows (evaluations), and rows that rewards were asked about."""

    calls: int = 0
    rows: int = 0
    verified: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.calls + other.calls, self.rows + other.rows, self.verified + other.verified)


@dataclass(frozen=True)
class Budget:
    """Limits on :class:`Spent`, never exceeded: ``network`` on rows, ``verifier`` on rows verified.

    What a step takes shows when the first one was made; what does not pay for the others ends there.

    Each counts over all the samples of a search together; with K rewards one sample counts K times.
    """

    network: int | None = None
    verifier: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("network", self.network), ("verifier", self.verifier)):
            if value is not None and value < 1:
                raise ValueError(f"a budget of {name} evaluations must be at least 1, got {value}")
        if self.network is None and self.verifier is None:
            raise ValueError("a budget needs a limit: Budget(network=...), Budget(verifier=...) or both")

    def __str__(self) -> str:
        limits = ((self.network, "network rows"), (self.verifier, "verifications"))
        return "a budget of " + " and ".join(f"{limit} {what}" for limit, what in limits if limit is not None)

    def pays(self, spent: Spent, rows: float, verified: float) -> bool:
        """Whether this much more still fits."""
        return (self.network is None or spent.rows + rows <= self.network) and (
            self.verifier is None or spent.verified + verified <= self.verifier
        )

    def left(self, spent: Spent) -> int | None:
        """Network rows that may still be made, or None for any number."""
        return None if self.network is None else max(0, self.network - spent.rows)

    def affordable(self, spent: Spent, rows: float, verified: float) -> int:
        """How many items of this cost still fit."""
        counts = [
            int((limit - used) // cost)
            for limit, used, cost in (
                (self.network, spent.rows, rows),
                (self.verifier, spent.verified, verified),
            )
            if limit is not None and cost > 0
        ]
        return max(0, min(counts)) if counts else 1 << 60

    def share(self, spent: Spent) -> float:
        """The part of the tighter limit that is used, 0 to 1."""
        pairs = ((spent.rows, self.network), (spent.verified, self.verifier))
        return min(1.0, max(used / limit for used, limit in pairs if limit is not None))


class Meter:
    """Adds up what is spent; a context around whatever evaluates networks."""

    def __init__(self, spent: Spent | None = None) -> None:
        self.spent = spent or Spent()

    @contextmanager
    def counting(self, budget: Budget | None = None) -> Iterator[None]:
        """Count the network evaluations of the block, also when it raises.

        Raises:
            EvaluationLimit: from inside the block, in place of the call that would exceed the budget.
        """
        with count_evaluations(None if budget is None else budget.left(self.spent)) as made:
            try:
                yield
            finally:
                self.spent += Spent(made.calls, made.rows)

    def verified(self, count: int) -> None:
        """Note rewards of so many rows."""
        self.spent += Spent(verified=count)
