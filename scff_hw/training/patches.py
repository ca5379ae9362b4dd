"""The patch control: each layer's weights are whitened random patches of its own inputs; nothing is learned.

On natural images a wide layer of such weights, read by a linear classifier, is hard to beat by local learning: Coates
and Ng, "The importance of encoding versus training with sparse coding and vector quantization", ICML 2011; Thiry et
al., "The unreasonable effectiveness of patches in deep convolutional kernel methods", ICLR 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scff_hw.backends import FloatBackend
from scff_hw.core.network import feed_forward
from scff_hw.core.random import generator
from scff_hw.recipes import Recipe
from scff_hw.training.build import Weights, build_network, frozen
from scff_hw.training.features import CHUNK, PlainSamples

SAMPLES = 4000
"""Number of samples from which a layer's patches and their covariance are computed."""

ROWS = 200_000
"""Approximate largest number of patches for the covariance."""

def patch_weights(
    recipe: Recipe, initial: Weights, samples: PlainSamples, seed: int, regulariser: float
) -> Weights:
    """Return weights of every layer, named and shaped as `initial`, with biases as in `initial`.

    Row k is `inverse(covariance) (patch_k - mean)`, so that an MVM compares whitened inputs with a whitened patch.
    Rows are scaled to the mean norm of the initial weights' rows, so that pre-activations have the range of an
    untrained layer's, on devices and in integers too.

    Args:
        initial: weights of an untrained network of feed-forward layers.
        samples: samples that hidden layers may learn from; labels are not used.
        regulariser: added to the eigenvalues of the covariance, as a share of their mean.
    """
    weights = {name: value.to(samples.labels.device) for name, value in initial.items()}
    draw = generator(seed, "patches")
    chosen = torch.randperm(len(samples), generator=draw)[:SAMPLES]
    for number in range(1, len(recipe.layers) + 1):
        network = build_network(frozen(recipe), FloatBackend(), weights)
        layer = feed_forward(network)[number - 1]
        per_chunk = -(-ROWS // -(-len(chosen) // CHUNK))
        kept = []
        for indices in chosen.split(CHUNK):
            stream = samples.batch(indices)
            for earlier in network.layers[: number - 1]:
                stream = earlier.forward(stream)
            rows = layer.array.geometry.rows(layer.inputs(stream))
            kept.append(rows[torch.randperm(len(rows), generator=draw)[:per_chunk].to(rows.device)])
        name = f"layers.{number}.weight"
        weights[name] = _whitened(torch.cat(kept).double(), initial[name], regulariser, draw).to(initial[name])
    return weights


def _whitened(rows: Tensor, initial: Tensor, regulariser: float, draw: torch.Generator) -> Tensor:
    """Draw `initial.shape[0]` of `rows`; return them whitened, shaped and scaled like `initial`."""
    units = len(initial)
    drawn = torch.randint(len(rows), (units,), generator=draw).to(rows.device)
    centred = rows - rows.mean(dim=0)
    covariance = centred.T @ centred / len(rows)
    ridge = regulariser * covariance.diagonal().mean().clamp(min=1e-12)
    system = covariance + ridge * torch.eye(len(covariance)).to(covariance)
    patches = torch.cholesky_solve(centred[drawn].T, torch.linalg.cholesky(system)).T
    norm = initial.flatten(1).double().norm(dim=1).mean().to(patches)
    lengths = patches.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return (patches / lengths * norm).view(initial.shape)
