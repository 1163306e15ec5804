"""How far two measurements, or two runs, agree; intervals that draw patients, not slices."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

FEW_PATIENTS = 10


class Agreement(NamedTuple):
    """Bland and Altman 1986, doi:10.1016/S0140-6736(86)90837-8: bias, SD of the differences, 95 % limits, and n."""

    n: int
    bias: float
    sd: float
    low: float
    high: float


class Interval(NamedTuple):
    """A mean with its 95 % interval and what it is made of; `low` and `high` are NaN with one patient."""

    mean: float
    low: float
    high: float
    n: int
    patients: int

    def __str__(self):
        if np.isnan(self.low):
            return f"{self.mean:.3f} (no interval: {self.patients} patient)"
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


def bland_altman(reference, measured):
    """Return the Agreement of paired values: differences are measured - reference; NaN pairs are left out."""
    difference = np.asarray(measured, float) - np.asarray(reference, float)
    difference = difference[np.isfinite(difference)]
    if not difference.size:
        return Agreement(0, *[float("nan")] * 4)
    bias, sd = difference.mean(), difference.std(ddof=1) if difference.size > 1 else float("nan")
    return Agreement(len(difference), float(bias), float(sd), float(bias - 1.96 * sd), float(bias + 1.96 * sd))


def interval(values, patients, level=0.95, draws=2000, seed=0):
    """Return the Interval of a mean over slices, by drawing whole patients with replacement.

    values : (n,), NaN left out; patients : (n,), whose each value is; slices of unknown patients ("") count as one
    Slices of one patient resemble one another: drawing slices would make the interval too narrow. Field and Welsh
    2007, doi:10.1111/j.1467-9868.2007.00593.x. Percentiles of the bootstrap; under ten patients still too narrow.
    """
    table = pd.DataFrame({"value": np.asarray(values, float), "patient": np.asarray(patients)}).dropna()
    groups = table.groupby("patient", sort=False).value
    sums, counts = groups.sum().to_numpy(), groups.size().to_numpy()
    if not len(sums):
        return Interval(*[float("nan")] * 3, 0, 0)
    low = high = float("nan")
    if len(sums) > 1:
        found = stats.bootstrap((sums, counts), _pooled, paired=True, n_resamples=draws, confidence_level=level,
                                method="percentile", rng=np.random.default_rng(seed)).confidence_interval
        low, high = float(found.low), float(found.high)
    return Interval(float(sums.sum() / counts.sum()), low, high, len(table), len(sums))


def _pooled(sums, counts, axis=-1):
    return sums.sum(axis=axis) / counts.sum(axis=axis)


def caution(patients):
    """Return a sentence for few patients, "" for enough."""
    if patients >= FEW_PATIENTS:
        return ""
    if patients < 2:
        return f"{patients} patient{'s' * (patients != 1)}: too few for an interval."
    said = "it is too narrow" if patients > 3 else "it only spans their means"  # one draw in 27 is thrice the same of 3
    return f"{patients} patients: too few for an interval to be trusted; {said}."


def paired(scores_a, scores_b, metric="dice"):
    """Return (the Interval of b - a over the slices that both scored, the differences by slice, largest loss first).

    scores_a, scores_b : score tables of the same slices; a slice that is NaN in both (both empty) does not count,
    and in one of them counts as 1 there (nothing to find, and nothing found).
    """
    table = scores_a[["name", "patient", "phase", "level", metric]].merge(scores_b[["name", metric]], on="name",
                                                                          suffixes=("_a", "_b"))
    columns = [f"{metric}_a", f"{metric}_b"]
    table = table[table[columns].notna().any(axis=1)]
    table[columns] = table[columns].fillna(1.0)
    table = table.assign(difference=table[columns[1]] - table[columns[0]])
    return interval(table.difference, table.patient), table.sort_values("difference", kind="stable")
