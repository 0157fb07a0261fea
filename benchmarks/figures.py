"""What is made of the measured times: medians, means, percentiles, and ratios with the interval they lie in."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from typing import NamedTuple

RESAMPLES = 2000


class Summary(NamedTuple):
    """A series of measurements in three numbers, in the measurements' own unit."""

    median: float
    mean: float
    p99: float


class Ratio(NamedTuple):
    """How one series' median compares with another's.

    Attributes:
        value: Median over median.
        low: Lower end of the 95 % interval.
        high: Upper end of it.
    """

    value: float
    low: float
    high: float


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest measured value that ``percent`` of the values do not exceed (nearest rank): never an invented one.

    Raises:
        ValueError: There are no values, or ``percent`` is not in (0, 100].
    """
    if not values or not 0 < percent <= 100:
        raise ValueError(f"no {percent}th percentile of {len(values)} values")
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def summarize(values: Sequence[float]) -> Summary:
    """Median, mean and 99th percentile."""
    return Summary(statistics.median(values), statistics.fmean(values), percentile(values, 99))


def median_ratio(mine: Sequence[float], theirs: Sequence[float], *, seed: int = 0) -> Ratio:
    """Compare two series that were measured in the same rounds.

    The interval is a percentile bootstrap over rounds: a round is drawn with both its values, so that what slowed the
    machine down for both does not count as a difference between them.

    Args:
        mine: One value a round.
        theirs: As many, in the same order.
        seed: Of the resampling; the same seed gives the same interval.

    Raises:
        ValueError: The series differ in length, or are empty.
    """
    if len(mine) != len(theirs) or not mine:
        raise ValueError(f"cannot pair {len(mine)} rounds with {len(theirs)}")
    chance = random.Random(seed)
    rounds = range(len(mine))
    ratios = [_ratio_of(mine, theirs, chance.choices(rounds, k=len(mine))) for _ in range(RESAMPLES)]
    return Ratio(_ratio_of(mine, theirs, rounds), percentile(ratios, 2.5), percentile(ratios, 97.5))


def _ratio_of(mine: Sequence[float], theirs: Sequence[float], rounds: Sequence[int]) -> float:
    """Median over median of the given rounds."""
    return statistics.median([mine[i] for i in rounds]) / statistics.median([theirs[i] for i in rounds])


def median_phases(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of each phase over the runs, in order of appearance; a phase that a run did not report counts 0."""
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: statistics.median([run.get(name, 0.0) for run in runs]) for name in names}
