"""Update models compared by pulses that were held out of the fit, and readings that fit no model told from the rest."""

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
"""Fewest parameters first."""
FOLDS = 5
OUTLIER = 5.0
"""Standard deviations beyond which a reading, or the step of a pulse, is left out."""
SURE = 2.0
"""Standard errors by which a model of more parameters must predict held-out pulses better."""
REACHED = 5.0
"""Log-likelihood that a hard bound must gain to count as reached."""
EXTRAPOLATED = 1.5
"""Half ranges from the middle of the measured range to a soft bound that still counts as measured."""
STRETCH = 1000
"""Readings of the stretches that a long series is thinned to."""


@dataclass(frozen=True)
class Candidate:
    """One model fitted to every device.

    Attributes:
        estimates: one per device.
        scores: float64 `[blocks]`, log-likelihood of held-out pulses, block by block; empty if not compared.
    """

    model: PulseModel
    estimates: tuple[Estimate, ...]
    scores: Array

    @property
    def likelihood(self) -> float:
        return sum(estimate.likelihood for estimate in self.estimates)


def gross_outliers(reading: Array) -> NDArray[np.bool_]:
    """Readings far from all of their neighbours, `[n]`: too far for a start of the fit to survive them."""
    off = np.abs(reading - median_filter(reading, size=5, mode="nearest"))
    usual = 10 * 1.4826 * np.median(off)
    return off > max(usual, 6 * float(np.quantile(np.abs(np.diff(reading)), 0.9)), 1e-12)


def thinned(pulses: Pulses, most: int) -> Pulses:
    """At most about `most` readings: stretches of STRETCH, evenly over the series."""
    count = len(pulses.reading)
    if count <= most:
        return pulses
    size = min(STRETCH, most)
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
    """Straight curves without bounds, fitted first, and the pulses without gross outliers."""
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
    found = estimate(model, pulses, values, pulses.reading, rounds=1)
    cleaned = without_outliers(model, found, pulses, 1.6 * OUTLIER)
    return estimate(model, cleaned, found.values, found.states, rounds=1), cleaned


def without_outliers(model: PulseModel, found: Estimate, pulses: Pulses, limit: float = OUTLIER) -> Pulses:
    """The pulses with readings, or else steps, left out that lie more than `limit` deviations off the model."""
    current = filtered(model, found.values, pulses, found.states)
    reading = math.exp(2 * found.value("reading"))
    left = np.where(pulses.seen, pulses.reading - current.states, 0.0)
    far = np.abs(left) / np.sqrt(np.maximum(reading - current.variances, 1e-3 * reading))
    ahead = np.abs(current.error) / np.sqrt(current.spread)
    usual = [max(1.0, 1.4826 * float(np.median(part[pulses.seen]))) for part in (far, ahead)]
    out = pulses.seen & (far > limit * usual[0]) & (ahead > limit * usual[1])
    # of neighbours only the farthest: it draws the others along
    for step in (-1, 1):
        out &= far >= np.roll(np.where(out, far, 0.0), step)
    jumps = pulses.seen[1:] & ~out[1:] & (ahead[1:] > 1.4 * limit * usual[1])
    jumps &= ~out[:-1]
    return replace(pulses, seen=pulses.seen & ~out, linked=pulses.linked & ~jumps)


def fit_model(
    name: str, follows: bool, pulses: Pulses, start: Estimate, base: PulseModel, like: PulseModel | None = None
) -> Estimate:
    """One model on one device, from the straight start; `base` gives the floor and the known bounds, `like` the
    curvatures where they are known.
    """
    model = replace(base, name=name, follows=follows).unclipped
    if name == "exp-step":
        return bounded(_curved(model, pulses, start, like), pulses)
    found = estimate(model, pulses, model.unclipped_values(start.values), start.states)
    return found if name == "soft-bounds" else bounded(found, pulses)


def _curved(base: PulseModel, pulses: Pulses, start: Estimate, like: PulseModel | None) -> Estimate:
    """Exponential curves without hard bounds: convex or concave in each direction, whichever is likelier."""
    choices = [like.convex] if like else [(True, True), (True, False), (False, True), (False, False)]
    found = []
    for convex in choices:
        model = replace(base, convex=convex)
        values = np.array([parameter.start for parameter in model.parameters])
        values[[0, 3]], values[6:8] = start.values[[0, 2]], start.values[4:6]
        for side, bent in enumerate(convex):
            # exponent 1, and the slope at 0 of the straight curve
            gamma = float(np.clip(start.values[2 * side + 1], 0.05, 1.2))
            values[3 * side + 1] = gamma / (1 + gamma)
            if bent:
                values[3 * side + 1] = math.log(max(gamma / (1 - gamma), 0.05)) if gamma < 0.9 else 3.0
            values[3 * side + 2] = 1.0
        found.append(estimate(model, pulses, values, start.states, rounds=2 if len(choices) > 1 else 4))
    return max(found, key=lambda one: one.likelihood)


def bounded(found: Estimate, pulses: Pulses) -> Estimate:
    """The same model with the hard bounds that the data reached: readings pile up there, however many pulses follow."""
    states, known = found.states, found.model.known
    if None not in known:
        return found
    plain = len(replace(found.model, clipped=(False, False)).parameters)
    model = replace(found.model, clipped=(True, True))
    ends = (float(states.min()), float(states.max()))
    starts = [end if bound is None else bound for bound, end in zip(known, ends, strict=True)]
    both = estimate(model, pulses, np.concatenate([found.values[:plain], starts]), states)
    reached = []
    for name, bound in zip(("low", "high"), known, strict=True):
        without = both.values.copy()
        # out of reach, beyond any state
        without[both.model.index(name)] = -9.0 if name == "low" else 9.0
        loss = both.likelihood - float(filtered(model, without, pulses, both.states).scores.sum())
        reached.append(bound is not None or loss > REACHED)
    if all(reached):
        return both
    model = replace(found.model, clipped=(reached[0], reached[1]))
    if model.clipped == found.model.clipped:
        return estimate(model, pulses, found.values, states)
    kept = np.concatenate([both.values[:plain], both.values[plain:][np.array(reached)]])
    return estimate(model, pulses, kept, both.states)


def held_out(found: Estimate, pulses: Pulses) -> Array:
    """Log-likelihood of each block of pulses under parameters fitted without it, `[blocks]`."""
    count = len(pulses.reading)
    block = np.arange(count) // max(4, min(40, count // 25))
    scores = np.zeros(count)
    for fold in range(FOLDS):
        held = block % FOLDS == fold
        rest = replace(pulses, seen=pulses.seen & ~held)
        fitted = estimate(found.model, rest, found.values, found.states, rounds=1)
        about = filtered(found.model, fitted.values, pulses, fitted.states).states
        current: Filtered = filtered(found.model, fitted.values, pulses, about)
        scores += np.where(held & pulses.seen, current.scores, 0.0)
    return np.bincount(block, weights=scores).astype(np.float64)


def candidates(
    names: Sequence[str],
    devices: Sequence[Pulses],
    starts: Sequence[Estimate],
    bases: Sequence[PulseModel],
    done: Callable[[], None],
) -> list[Candidate]:
    """The named models, each with the noise that the data make likelier, fitted to every device.

    Args:
        bases: one per device, with its floor and its known bounds.
    """
    found: list[Candidate] = []
    for name in names:
        # the noise of straight curves is decided once: that of curved ones hardly differs, and they cost most
        both = (False, True) if not found or name != "exp-step" else (found[-1].model.follows,)
        variants = []
        for follows in both:
            estimates: list[Estimate] = []
            for pulses, start, base in zip(devices, starts, bases, strict=True):
                like = estimates[0].model if estimates else None
                estimates.append(fit_model(name, follows, pulses, start, base, like))
                done()
            variants.append(Candidate(estimates[0].model, tuple(estimates), np.zeros(0)))
        # constant noise where the data hardly tell
        found.append(max(variants, key=lambda one: one.likelihood - SURE * one.model.follows))
    return found


def with_scores(candidate: Candidate, devices: Sequence[Pulses], done: Callable[[], None]) -> Candidate:
    """The candidate with the scores of held-out pulses; without hard bounds where they predict those worse."""
    scores = []
    for found, pulses in zip(candidate.estimates, devices, strict=True):
        scores.append(held_out(found, pulses))
        done()
    whole = replace(candidate, scores=np.concatenate(scores))
    if all(one.model == one.model.unclipped for one in candidate.estimates):
        return whole
    free = replace(candidate, estimates=tuple(map(_unbounded, candidate.estimates, devices)))
    without = np.concatenate([held_out(found, pulses) for found, pulses in zip(free.estimates, devices, strict=True)])
    return whole if whole.scores.sum() > without.sum() else replace(free, model=free.estimates[0].model, scores=without)


def _unbounded(found: Estimate, pulses: Pulses) -> Estimate:
    model = found.model.unclipped
    return estimate(model, pulses, model.unclipped_values(found.values), found.states)


def best(found: Sequence[Candidate]) -> Candidate:
    """The simplest model whose held-out pulses are as likely as the best one's, to SURE errors of the difference.

    Soft bounds far outside the measured range were not measured; linear steps within that range predict the same, so
    they are taken for the simpler model then. Hastie, Tibshirani and Friedman, The Elements of Statistical Learning,
    section 7.10.
    """
    top = max(found, key=lambda one: float(one.scores.sum()))
    for one in sorted(found, key=lambda one: not _measured(one)):
        lost = top.scores - one.scores
        if float(lost.sum()) <= SURE * float(np.std(lost, ddof=1)) * math.sqrt(len(lost)):
            return one
    return top


def _measured(candidate: Candidate) -> bool:
    if candidate.model.name != "soft-bounds":
        return True
    ends = [abs(end) for one in candidate.estimates for end in one.model.bounds(one.values)]
    return bool(max(np.median(ends[::2]), np.median(ends[1::2])) < EXTRAPOLATED)
