"""A Transformer encoder in numpy, for tests of those in torch."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Weights = dict[str, Float64]
M = TypeVar("M", bound=torch.nn.Module)
ERF = np.vectorize(math.erf)


def with_large_weights(model: M) -> M:
    """The module in evaluation mode with normal weights, so that every part of its formulas
    counts."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.7)
    return model.eval()


def weights_of(model: torch.nn.Module) -> Weights:
    """Its tensors by name."""
    return {name: value.double().numpy() for name, value in model.state_dict().items()}


def linear(w: Weights, name: str, x: Float64) -> Float64:
    """x W' + b."""
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def normalised(w: Weights, name: str, x: Float64) -> Float64:
    """Layer normalisation of the rows."""
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x: Float64) -> Float64:
    """x times the normal distribution's function."""
    return x * 0.5 * (1 + ERF(x / math.sqrt(2)))


def attention(
    w: Weights, block: str, x: Float64, asking: Float64, *, n_heads: int, causal: bool
) -> Float64:
    """softmax(Q K' / sqrt(d)) V of each head, side by side, through the output layer; Q of
    `asking`."""
    heads = []
    layer = f"{block}.attention.to_all"
    parts = [np.split(linear(w, layer, one), 3, axis=1) for one in (asking, x, x)]
    for q, k, v in zip(
        *(np.split(three[place], n_heads, axis=1) for place, three in enumerate(parts)),
        strict=True,
    ):
        scores = q @ k.T / math.sqrt(q.shape[1])
        if causal:
            scores[np.triu_indices(len(x), 1)] = -np.inf
        chance = np.exp(scores - scores.max(1, keepdims=True))
        heads.append(chance / chance.sum(1, keepdims=True) @ v)
    return linear(w, f"{block}.from_heads", np.concatenate(heads, axis=1))


def encoded(
    w: Weights,
    items: list[int],
    *,
    n_heads: int,
    causal: bool,
    activation: str = "gelu",
    query_norm: bool = False,
) -> Float64:
    """[L, d]: what `falconer.recsys.backends.torch.sequences.transformer.Encoder` says at each
    place of one row."""
    x = w["items.weight"][items] + w["positions.weight"][np.arange(len(items))[::-1]]
    for number in range(
        1 + max(int(name.split(".")[1]) for name in w if name.startswith("blocks."))
    ):
        block = f"blocks.{number}"
        query = normalised(w, f"{block}.norm_1", x)
        seen = attention(
            w, block, x if query_norm else query, query, n_heads=n_heads, causal=causal
        )
        x = seen + (query if query_norm else x)
        between = normalised(w, f"{block}.norm_2", x)
        up = linear(w, f"{block}.up", between)
        x = (between if query_norm else x) + linear(
            w, f"{block}.down", gelu(up) if activation == "gelu" else np.maximum(up, 0)
        )
    return normalised(w, "norm", x)
