"""From numbers to places along an axis, and the round numbers that are written beside it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_MARGIN = 0.05
_MOST_TICKS = 6
#: Below this ratio of the ends 1, 2 and 5 of a decade are marked; ends lie within 10^±307.
_FEW_DECADES, _FAR = 30, 307


@dataclass(frozen=True)
class Scale:
    """An axis from ``low`` to ``high``, linear or logarithmic."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def of(cls, values: Iterable[float], *, log: bool = False) -> "Scale":
        """One that shows all values that can be shown, with a margin; those of none is 0 to 1."""
        shown = [_moved(value, log) for value in values if shows(value, log=log)]
        if not shown:
            return cls(1.0, 10.0, log) if log else cls(0.0, 1.0)
        low, high = min(shown), max(shown)
        # Equal values get a little room to lie in the middle of.
        room = _MARGIN * (high - low) or max(0.05 * abs(low), 0.5 if log or not low else 0.0)
        low, high = low - room, high + room
        return cls(10 ** max(low, -_FAR), 10 ** min(high, _FAR), log) if log else cls(low, high)

    def place(self, value: float) -> float:
        """Where ``value`` lies, as a share of the axis."""
        low, high = _moved(self.low, self.log), _moved(self.high, self.log)
        return (_moved(value, self.log) - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round numbers within the axis, ascending: at most seven of them."""
        return self._decades() if self.log else self._steps()

    def _steps(self) -> list[float]:
        rough = (self.high - self.low) / _MOST_TICKS
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def _decades(self) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        factors = (1, 2, 5) if self.high / self.low < _FEW_DECADES else (1,)
        apart = math.ceil((last - first) / _MOST_TICKS)
        found = [f * 10.0**power for power in range(first, last + 1, apart) for f in factors]
        found = [tick for tick in found if self.low <= tick <= self.high]
        return found if len(found) > 1 else Scale(self.low, self.high)._steps()


def shows(value: float, *, log: bool) -> bool:
    """Whether a number has a place on an axis: it is finite, and above zero on a logarithmic one."""
    return math.isfinite(value) and (value > 0 or not log)


def _moved(value: float, log: bool) -> float:
    return math.log10(value) if log else value


def written(tick: float) -> str:
    """A round number as it is read: ``0.05``, ``20000``, ``1e-5``.

    >>> [written(value) for value in (0.30000000000000004, 20000.0, 2e6, 1e-5, -0.0)]
    ['0.3', '20000', '2e6', '1e-5', '0']
    """
    text = f"{tick:.4g}" if abs(tick) < 1e4 or abs(tick) >= 1e6 else f"{tick:.0f}"
    mantissa, exponent, power = text.partition("e")
    return f"{mantissa}e{int(power)}" if exponent else ("0" if mantissa == "-0" else mantissa)
