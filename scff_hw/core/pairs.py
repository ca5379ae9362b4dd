"""Positive and negative pairs, in the form that an array reads.

The pre-activation of a pair (a, b) is `W a + W b + 2 bias`: both halves share one weight matrix (paper, section 3.1
and appendix A). Computed literally, a batch costs four MVMs per sample: two halves of the positive pair
(x_k, x_k) and two of the negative pair (x_k, x_n). Both are linear in `u_k = W x_k`, so one MVM is enough:

    z_pos[k] = 2 a_pos[k] u_k + 2 bias              z_neg[k] = a_neg[k] (u_k + u_n) + 2 bias,  n = partner[k]

where `a` is one over the pair's joint standard deviation. The joint mean needs no extra term: each half is centred
before the MVM, and the mean of a pair is the mean of its halves. The update is one outer product per sample,

    dW = sum_k D_k x_k^T,     D_k = 2 a_pos[k] d_pos[k] + a_neg[k] d_neg[k] + (a_neg d_neg)[j],  partner[j] = k

A layer that takes the previous layer's positive and negative outputs (Algorithm 1) has no such identity: it reads
its two streams separately.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scff_hw.core.functional import reflect_pad, standardise


@dataclass(frozen=True)
class Stream:
    """A batch at the input of the network, or between two layers.

    Attributes:
        positive: `[N, ...]`; at the network's input, the samples.
        negative: `[N, ...]`; None if the next layer makes its own pairs, and at inference.
        second_view: `[N, ...]`, another augmentation of the same samples (network input only): positive pairs
            are then (first view, second view) and negative pairs (first view, second view of the partner).
        lengths: int64 `[N]`, steps of each sequence if `positive` is `[N, T, F]`; None for samples without time.
    """

    positive: Tensor
    negative: Tensor | None = None
    second_view: Tensor | None = None
    lengths: Tensor | None = None

    def flat(self) -> Stream:
        """Return the samples flattened to `[N, F]`; `lengths` is dropped."""
        parts = (self.positive, self.negative, self.second_view)
        positive, negative, second = (part if part is None else part.flatten(1) for part in parts)
        assert positive is not None
        return Stream(positive, negative, second)


@dataclass(frozen=True)
class Partners:
    """Negative partners, int64 `[N]`: sample k is paired with `forward[k]`; `backward` is the inverse permutation."""

    forward: Tensor
    backward: Tensor

    @classmethod
    def cyclic(cls, count: int, shift: int, device: torch.device | str = "cpu") -> Partners:
        """Return the paper's pairing: n = (k + shift) mod N, one shift in 1..N-1 per batch (Algorithms 1 and 2)."""
        if not 0 < shift < count:
            raise ValueError(f"The cyclic shift of a batch of {count} must be in 1..{count - 1}. Got {shift} instead.")
        index = torch.arange(count, device=device)
        return cls(index.roll(-shift), index.roll(shift))

    @classmethod
    def draw(cls, count: int, generator: torch.Generator, device: torch.device | str = "cpu") -> Partners:
        """Return the pairing by a cyclic shift drawn uniformly from 1..count-1."""
        if count < 2:
            raise ValueError(f"A batch must hold at least 2 samples to form a negative pair. Got {count} instead.")
        return cls.cyclic(count, int(torch.randint(1, count, (1,), generator=generator)), device)


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Reshape `values` `[N]` to broadcast over `like` `[N, C, ...]`."""
    return values.view(-1, *(1,) * (like.dim() - 1))


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    """Reshape `values` `[C]` to broadcast over `like` `[N, C, ...]`."""
    return values.view(1, -1, *(1,) * (like.dim() - 2))


@dataclass(frozen=True)
class Presentation:
    """Input of one `mvm` call for a batch; maps the result to pairs, and the errors of pairs back to rows.

    Attributes:
        inputs: `[R, ...]`, the rows of the MVM; R is N times `views`.
        views: 1, or 2 if two views, or a positive and a negative stream, are concatenated.
        scale_positive, scale_negative: `[N]`, one over the standard deviation of each pair that this layer
            makes, 0 if both halves are constant; None for passed pairs; `scale_negative` is None at inference.
        partners: the negative partners, if this layer makes its pairs; None at inference.
    """

    inputs: Tensor
    views: int
    scale_positive: Tensor | None = None
    scale_negative: Tensor | None = None
    partners: Partners | None = None

    def pre_activations(self, u: Tensor, bias: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the pre-activations of the positive and the negative pairs.

        Args:
            u: `[R, C, ...]`, the MVM of `inputs`, without bias.
            bias: `[C]`; counts twice in a pair that this layer makes.
        Returns:
            Two tensors `[N, C, ...]`; the second is None at inference.
        """
        first, second = u.chunk(2) if self.views == 2 else (u, None)
        b = per_channel(bias, u)
        if self.scale_positive is None:
            return first + b, None if second is None else second + b
        second = first if second is None else second
        both = 2 * first if second is first else first + second
        positive = per_sample(self.scale_positive, u) * both + 2 * b
        if self.scale_negative is None or self.partners is None:
            return positive, None
        mixed = first + second.index_select(0, self.partners.forward)
        return positive, per_sample(self.scale_negative, u) * mixed + 2 * b

    def fold(self, d_positive: Tensor, d_negative: Tensor) -> tuple[Tensor, Tensor]:
        """Fold errors at the pairs' pre-activations into errors at `u` and at the bias.

        Args:
            d_positive, d_negative: `[N, C, ...]`.
        Returns:
            Errors `[R, C, ...]` for `update`, and errors `[C]` at the bias.
        """
        dims = [0, *range(2, d_positive.dim())]
        bias_error = d_positive.sum(dims) + d_negative.sum(dims)
        if self.scale_positive is None:
            return torch.cat((d_positive, d_negative)), bias_error
        assert self.scale_negative is not None and self.partners is not None
        positive = per_sample(self.scale_positive, d_positive) * d_positive
        negative = per_sample(self.scale_negative, d_negative) * d_negative
        returned = negative.index_select(0, self.partners.backward)
        if self.views == 2:
            return torch.cat((positive + negative, positive + returned)), 2 * bias_error
        return 2 * positive + negative + returned, 2 * bias_error


def _centre(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return, per sample, the centred values, the mean `[N]`, and the sum of squares of the centred values `[N]`."""
    dims = tuple(range(1, x.dim()))
    mean = x.mean(dim=dims, keepdim=True)
    centred = x - mean
    return centred, mean.flatten(), centred.square().sum(dim=dims)


def _pair_scale(mean_a: Tensor, energy_a: Tensor, mean_b: Tensor, energy_b: Tensor, elements: int) -> Tensor:
    """Return one over the joint unbiased standard deviation of each pair, `[N]`; a half has `elements` values.

    Halves are standardised, so each is either all zeros or far from zero; if both are zero, the result is 0.
    """
    energy = energy_a + energy_b + elements / 2 * (mean_a - mean_b).square()
    return 1 / (energy / (2 * elements - 1)).masked_fill(energy == 0, torch.inf).sqrt()


def make_pairs(stream: Stream, partners: Partners | None, padding: int = 0) -> Presentation:
    """Form pairs at a layer's input: layer 1, and Algorithm 2 at deeper layers.

    The order is the authors': standardise each sample, form the pair, pad by reflection, standardise the pair
    jointly with its padding.

    Args:
        stream: the negative stream is ignored.
        partners: None at inference, where each sample is paired with itself only.
        padding: reflection padding of `[N, C, H, W]`, in positions.
    """
    views = [stream.positive] if stream.second_view is None else [stream.positive, stream.second_view]
    centred, means, energies = zip(*(_centre(reflect_pad(standardise(v), padding)) for v in views), strict=True)
    elements = centred[0][0].numel()
    scale_positive = _pair_scale(means[0], energies[0], means[-1], energies[-1], elements)
    scale_negative = None
    if partners is not None:
        n = partners.forward
        scale_negative = _pair_scale(means[0], energies[0], means[-1][n], energies[-1][n], elements)
    inputs = torch.cat(centred) if len(centred) == 2 else centred[0]
    return Presentation(inputs, len(views), scale_positive, scale_negative, partners)


def pass_pairs(stream: Stream, padding: int = 0) -> Presentation:
    """Use the previous layer's positive and negative outputs as pairs: Algorithm 1.

    Each sample is padded by reflection, then standardised, padding included.
    """
    parts = [stream.positive] if stream.negative is None else [stream.positive, stream.negative]
    inputs = [standardise(part, padding) for part in parts]
    return Presentation(torch.cat(inputs) if len(inputs) == 2 else inputs[0], len(inputs))
