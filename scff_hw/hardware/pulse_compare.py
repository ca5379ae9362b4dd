"""Model comparison by held-out pulses, and detection of outliers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from scff_hw.hardware.pulse_likelihood import Estimate, Filtered, Pulses, estimate, filtered
from scff_hw.hardware.pulse_models import Array, PulseModel

MODELS = ("soft-bounds", "linear-step", "exp-step")
"""Update models, fewest parameters first."""
FOLDS = 5
OUTLIER = 5.0
"""Standard deviations beyond which a reading, or the step of a pulse, is excluded."""
MIN_STANDARD_ERRORS = 2.0
"""Standard errors by which a model with more parameters must predict held-out pulses better."""
REACHED = 5.0
"""Gain in log-likelihood above which a hard bound counts as reached."""
EXTRAPOLATED = 1.5
"""Largest distance, in half ranges, from the middle of the measured range to a soft bound that counts as measured."""
SEGMENT = 1000
"""Length in readings of the segments to which a long series is thinned."""


@dataclass(frozen=True)
class Candidate:
    """One model fitted to every device.

    Attributes:
        estimates: one per device.
        scores: float64 `[blocks]`, log-likelihood of held-out pulses per block; empty if not compared.
    """

    model: PulseModel
    estimates: tuple[Estimate, ...]
    scores: Array

    @property
    def likelihood(self) -> float:
        return sum(estimate.likelihood for estimate in self.estimates)


def gross_outliers(reading: Array) -> NDArray[np.bool_]:
    """Return a mask `[n]` of readings far from all their neighbours; they would distort the initial fit."""
    off = np.abs(reading - median_filter(reading, size=5, mode="nearest"))
    usual = 10 * 1.4826 * np.median(off)
    return off > max(usual, 6 * float(np.quantile(np.abs(np.diff(reading)), 0.9)), 1e-12)


def thinned(pulses: Pulses, most: int) -> Pulses:
    """Return at most about `most` readings: segments of length SEGMENT, evenly over the series."""
    count = len(pulses.reading)
    if count <= most:
        return pulses
    size = min(SEGMENT, most)
    starts = np.linspace(0, count - size, most // size).astype(int)
    chosen = np.concatenate([np.arange(start, start + size) for start in starts])
    before, after = chosen[:-1], chosen[1:]
    return Pulses(
        pulses.up[np.minimum(before, count - 2)],
        pulses.reading[chosen],
        pulses.seen[chosen],
        pulses.linked[np.minimum(before, count - 2)] & (after == before + 1),
    )


def initial_fit(pulses: Pulses) -> tuple[Estimate, Pulses]:
    """Fit straight curves without bounds; return the estimate, and the pulses without gross outliers."""
    model = PulseModel("straight")
    both = pulses.seen[1:] & pulses.seen[:-1] & pulses.linked
    change = np.diff(pulses.reading)
    sizes = []
    for chosen, sign in ((both & pulses.up, 1), (both & ~pulses.up, -1)):
        mean = sign * float(np.mean(change[chosen])) if chosen.any() else 0.0
        sizes.append(math.log(max(mean, 1e-4)))
    noise = max(1e-3, 1.4826 * float(np.median(np.abs(change[both] - np.median(change[both])))) / 1.5)
    cycle = math.log(min(30.0, max(0.01, noise / math.exp(float(np.mean(sizes))))))
    values = np.array([sizes[0], 0.3, sizes[1], 0.3, cycle, math.log(noise)])
    fitted = estimate(model, pulses, values, pulses.reading, rounds=1)
    cleaned = without_outliers(model, fitted, pulses, 1.6 * OUTLIER)
    return estimate(model, cleaned, fitted.values, fitted.states, rounds=1), cleaned


def without_outliers(model: PulseModel, fitted: Estimate, pulses: Pulses, limit: float = OUTLIER) -> Pulses:
    """Exclude readings, or else steps, more than `limit` standard deviations from the model; return the pulses."""
    current = filtered(model, fitted.values, pulses, fitted.states)
    reading = math.exp(2 * fitted.value("reading"))
    residual = np.where(pulses.seen, pulses.reading - current.states, 0.0)
    far = np.abs(residual) / np.sqrt(np.maximum(reading - current.variances, 1e-3 * reading))
    ahead = np.abs(current.error) / np.sqrt(current.spread)
    usual = [max(1.0, 1.4826 * float(np.median(part[pulses.seen]))) for part in (far, ahead)]
    out = pulses.seen & (far > limit * usual[0]) & (ahead > limit * usual[1])
    # of adjacent readings exclude only the farthest: it biases the others
    for step in (-1, 1):
        out &= far >= np.roll(np.where(out, far, 0.0), step)
    jumps = pulses.seen[1:] & ~out[1:] & (ahead[1:] > 1.4 * limit * usual[1])
    jumps &= ~out[:-1]
    return replace(pulses, seen=pulses.seen & ~out, linked=pulses.linked & ~jumps)


def fit_model(
    name: str, follows: bool, pulses: Pulses, start: Estimate, base: PulseModel, like: PulseModel | None = None
) -> Estimate:
    """Fit the model `name` to one device, from the fit of straight curves `start`.

    Args:
        follows: whether the noise of a pulse scales with its step.
        base: model with the floor and the known bounds.
        like: model with the curvatures, None to choose them.
    """
    model = replace(base, name=name, follows=follows).unclipped
    if name == "exp-step":
        return bounded(_curved(model, pulses, start, like), pulses)
    fitted = estimate(model, pulses, model.unclipped_values(start.values), start.states)
    return fitted if name == "soft-bounds" else bounded(fitted, pulses)


def _curved(base: PulseModel, pulses: Pulses, start: Estimate, like: PulseModel | None) -> Estimate:
    """Fit exponential curves without hard bounds, convex or concave per direction, whichever is more likely."""
    choices = [like.convex] if like else [(True, True), (True, False), (False, True), (False, False)]
    estimates = []
    for convex in choices:
        model = replace(base, convex=convex)
        values = np.array([parameter.start for parameter in model.parameters])
        values[[0, 3]], values[6:8] = start.values[[0, 2]], start.values[4:6]
        for side, bent in enumerate(convex):
            # exponent 1, and the slope of the straight curve at 0
            gamma = float(np.clip(start.values[2 * side + 1], 0.05, 1.2))
            values[3 * side + 1] = gamma / (1 + gamma)
            if bent:
                values[3 * side + 1] = math.log(max(gamma / (1 - gamma), 0.05)) if gamma < 0.9 else 3.0
            values[3 * side + 2] = 1.0
        estimates.append(estimate(model, pulses, values, start.states, rounds=2 if len(choices) > 1 else 4))
    return max(estimates, key=lambda one: one.likelihood)


def bounded(fitted: Estimate, pulses: Pulses) -> Estimate:
    """Add the hard bounds that the data reached, where readings accumulate despite further pulses, and fit again."""
    states, known = fitted.states, fitted.model.known
    if None not in known:
        return fitted
    plain = len(replace(fitted.model, clipped=(False, False)).parameters)
    model = replace(fitted.model, clipped=(True, True))
    ends = (float(states.min()), float(states.max()))
    starts = [end if bound is None else bound for bound, end in zip(known, ends, strict=True)]
    both = estimate(model, pulses, np.concatenate([fitted.values[:plain], starts]), states)
    reached = []
    for name, bound in zip(("low", "high"), known, strict=True):
        without = both.values.copy()
        # a bound beyond all states has no effect
        without[both.model.index(name)] = -9.0 if name == "low" else 9.0
        loss = both.likelihood - float(filtered(model, without, pulses, both.states).scores.sum())
        reached.append(bound is not None or loss > REACHED)
    if all(reached):
        return both
    model = replace(fitted.model, clipped=(reached[0], reached[1]))
    if model.clipped == fitted.model.clipped:
        return estimate(model, pulses, fitted.values, states)
    values = np.concatenate([both.values[:plain], both.values[plain:][np.array(reached)]])
    return estimate(model, pulses, values, both.states)


def held_out(full: Estimate, pulses: Pulses) -> Array:
    """Return the cross-validated log-likelihood of each block of pulses, `[blocks]`."""
    count = len(pulses.reading)
    block = np.arange(count) // max(4, min(40, count // 25))
    scores = np.zeros(count)
    for fold in range(FOLDS):
        in_fold = block % FOLDS == fold
        rest = replace(pulses, seen=pulses.seen & ~in_fold)
        fitted = estimate(full.model, rest, full.values, full.states, rounds=1)
        about = filtered(full.model, fitted.values, pulses, fitted.states).states
        current: Filtered = filtered(full.model, fitted.values, pulses, about)
        scores += np.where(in_fold & pulses.seen, current.scores, 0.0)
    return np.bincount(block, weights=scores).astype(np.float64)


def candidates(
    names: Sequence[str],
    devices: Sequence[Pulses],
    starts: Sequence[Estimate],
    bases: Sequence[PulseModel],
    done: Callable[[], None],
) -> list[Candidate]:
    """Fit the named models to every device, each with the more likely kind of noise.

    Args:
        bases: per device, the model with floor and known bounds.
    """
    models: list[Candidate] = []
    for name in names:
        # exp-step uses the kind of noise of the previous model: it hardly differs, and exp-step is slowest to fit
        both = (False, True) if not models or name != "exp-step" else (models[-1].model.follows,)
        variants = []
        for follows in both:
            estimates: list[Estimate] = []
            for pulses, start, base in zip(devices, starts, bases, strict=True):
                like = estimates[0].model if estimates else None
                estimates.append(fit_model(name, follows, pulses, start, base, like))
                done()
            variants.append(Candidate(estimates[0].model, tuple(estimates), np.zeros(0)))
        # constant noise, unless the other kind is clearly more likely
        models.append(max(variants, key=lambda one: one.likelihood - MIN_STANDARD_ERRORS * one.model.follows))
    return models


def with_scores(candidate: Candidate, devices: Sequence[Pulses], done: Callable[[], None]) -> Candidate:
    """Return the candidate with scores of held-out pulses, without hard bounds if these predict worse."""
    scores = []
    for fitted, pulses in zip(candidate.estimates, devices, strict=True):
        scores.append(held_out(fitted, pulses))
        done()
    whole = replace(candidate, scores=np.concatenate(scores))
    if all(one.model == one.model.unclipped for one in candidate.estimates):
        return whole
    free = replace(candidate, estimates=tuple(map(_unbounded, candidate.estimates, devices)))
    without = np.concatenate([held_out(fitted, pulses) for fitted, pulses in zip(free.estimates, devices, strict=True)])
    return whole if whole.scores.sum() > without.sum() else replace(free, model=free.estimates[0].model, scores=without)


def _unbounded(fitted: Estimate, pulses: Pulses) -> Estimate:
    model = fitted.model.unclipped
    return estimate(model, pulses, model.unclipped_values(fitted.values), fitted.states)


def best(models: Sequence[Candidate]) -> Candidate:
    """Return the simplest model whose held-out likelihood is within MIN_STANDARD_ERRORS standard errors of the best.

    Soft bounds far outside the measured range are extrapolated, and linear steps predict the same within it, so linear
    steps then count as the simpler model. Hastie, Tibshirani and Friedman, The Elements of Statistical Learning,
    section 7.10.
    """
    top = max(models, key=lambda model: float(model.scores.sum()))
    for model in sorted(models, key=lambda model: not _measured(model)):
        lost = top.scores - model.scores
        if float(lost.sum()) <= MIN_STANDARD_ERRORS * float(np.std(lost, ddof=1)) * math.sqrt(len(lost)):
            return model
    return top


def _measured(candidate: Candidate) -> bool:
    if candidate.model.name != "soft-bounds":
        return True
    ends = [abs(end) for one in candidate.estimates for end in one.model.bounds(one.values)]
    return bool(max(np.median(ends[::2]), np.median(ends[1::2])) < EXTRAPOLATED)
