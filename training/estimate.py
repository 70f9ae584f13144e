"""Lipschitz constants by power iteration, for training only. An estimate may lie below the truth; it proves nothing.

Each layer's norm is estimated in the geometry in which `zoo.bounds` will bound it, so that training sees what the
certificate will say, less what the iteration still lacks.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from training.layers import row_of, weight_of
from training.operators import OperatorShape, adjoint, apply
from zoo.errors import UncertifiableLayerError
from zoo.layers import FrequencyConv, Residual, Sandwich
from zoo.lowering.sizes import sizes_of

STEPS = 10  # iterations between two looks at whether an estimate has converged


class LipschitzEstimate:
    """An estimate of the body's Lipschitz constant, differentiable in the weights and improved at every call.

    The body is every child of `network` but the last; its estimate is the product of its layers' estimates, that of a
    residual block H x + g(x) being |H| + K_g. The iterates belong to the training state (`state_dict`), not to the
    network. Layers of equal shape share one batch; layers whose constraints keep their norm at 1 count 1.

    Source: the method of Leino, Wang, Fredrikson 2021 (GloRo), arXiv 2102.08452, and Hu et al. 2023, arXiv 2301.12549:
    iterates detached, the gradient flows through the last norm ||W v||. Where we differ: a random start (all ones can
    be orthogonal to the top singular vector), and the certificate's geometry for convolutions.

    Raises UncertifiableLayerError for a layer whose constant it cannot estimate.
    """

    def __init__(self, network: nn.Sequential, input_shape: tuple[int, int, int], seed: int, iterations: int):
        self.network = network
        self.iterations = iterations
        self.scale = 1.0  # the product of the constants that no training changes
        self.branches: dict[str, str] = {}  # the residual block of each layer in a branch
        self.skips: dict[str, str] = {}  # the residual block of each skip
        self.groups: dict[OperatorShape, list[str]] = {}
        shape: tuple[int, ...] = input_shape
        for name, layer in list(network.named_children())[:-1]:
            shape = self._add(name, layer, shape)
        for name, layer in network.named_children():
            if isinstance(layer, Residual):
                self.branches |= {f"{name}.branch.{inner}": name for inner, _ in layer.branch.named_children()}
                if layer.skip is not None:
                    self.skips[f"{name}.skip"] = name
        generator = torch.Generator().manual_seed(seed)
        weight = next(network.parameters())
        self.vectors: list[Tensor] = []  # [G, *input_shape] of each group, unit vectors
        for operator, names in self.groups.items():
            start = torch.randn(len(names), *operator.input_shape, generator=generator)
            self.vectors.append((start / _norms(start, keepdim=True)).to(weight))

    def _add(self, name: str, layer: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Add a layer of the body to the estimate; the shape of its output, given that of its input."""
        row, start = row_of(layer), shape
        if isinstance(layer, Residual) and row is not None:
            outside = self.scale
            for inner, branch in layer.branch.named_children():
                shape = self._add(f"{name}.branch.{inner}", branch, shape)
            if layer.skip is not None:
                self._add(f"{name}.skip", layer.skip, start)
            if self.scale != outside:  # it would count for the whole network
                raise UncertifiableLayerError(f"{name}: no Lipschitz estimate for a block with a constant factor")
            return shape
        if row is None or row.estimate is None:
            kind = parametrize.type_before_parametrizations(layer)
            raise UncertifiableLayerError(f"{name}: no Lipschitz estimate for a {kind.__name__}")
        try:
            constant = row.estimate(layer, shape)
        except UncertifiableLayerError as error:
            raise UncertifiableLayerError(f"{name}: {error}") from error
        if isinstance(constant, OperatorShape):
            self.groups.setdefault(constant, []).append(name)
        else:
            self.scale *= constant
        return _output_shape(layer, shape)

    def __call__(self, improve: bool = True) -> Tensor:
        """The product of the layers' estimates, a scalar with a gradient; `improve` iterates a few times before."""
        iterations = self.iterations if improve else 0
        return self._body(self._estimates(iterations))

    @torch.no_grad()
    def converge(self, tolerance: float = 1e-5, limit: int = 2000) -> Tensor:
        """The estimate once STEPS more iterations raise no layer by more than `tolerance`, relatively.

        It stops at `limit` iterations in any case, still an estimate from below.
        """
        groups = list(self._estimates(0))
        for _ in range(limit // STEPS):
            before, groups = groups, list(self._estimates(STEPS))
            pairs = zip(before, groups, strict=True)
            if all(bool((after <= old * (1 + tolerance)).all()) for (_, old), (_, after) in pairs):
                break
        return self._body(groups)

    def _body(self, groups: Iterable[tuple[list[str], Tensor]]) -> Tensor:
        """The body's estimate from those of its layers, which come in groups."""
        # `full` fills on the device; `tensor` would wait until the device has taken a copy.
        product = torch.full((), self.scale, device=next(self.network.parameters()).device)
        branches = dict.fromkeys(self.branches.values(), torch.ones_like(product))
        skips = dict.fromkeys(branches, torch.ones_like(product))
        for names, sigmas in groups:
            for name, sigma in zip(names, sigmas, strict=True):
                if name in self.branches:
                    branches[self.branches[name]] = branches[self.branches[name]] * sigma
                elif name in self.skips:
                    skips[self.skips[name]] = sigma
                else:
                    product = product * sigma
        for block, branch in branches.items():
            product = product * (skips[block] + branch)
        return product

    def margins(self, body: Tensor) -> Tensor:
        """K_ij for an estimate of the body: [C, C]."""
        return margin_lipschitz(body, weight_of(self.network[-1]))

    def _estimates(self, iterations: int) -> Iterator[tuple[list[str], Tensor]]:
        """The names of each group's layers, and their norms ||W v|| [G] after the iterations."""
        for group, (operator, names) in enumerate(self.groups.items()):
            weights = torch.stack([weight_of(self.network.get_submodule(name)) for name in names])
            fixed = weights.detach()
            vectors = self.vectors[group]
            for _ in range(iterations):
                images = adjoint(operator, fixed, apply(operator, fixed, vectors))
                norms = _norms(images, keepdim=True)
                vectors = torch.where(norms > 0, images / norms, vectors)  # a zero operator keeps its vector
            self.vectors[group] = vectors
            yield names, _norms(apply(operator, weights, vectors)).flatten()

    def state_dict(self) -> dict[str, Any]:
        return {"vectors": self.vectors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.vectors = [new.to(old) for new, old in zip(state["vectors"], self.vectors, strict=True)]


class RowSums:
    """The body's constant in l-infinity, up to rounding: the product of the layers' largest absolute row sums.

    A residual block H x + g(x) counts K_H + K_g, a distance layer 1. Nothing is iterated, so there is no state to keep.
    Raises UncertifiableLayerError for a layer whose constant it does not know.
    """

    def __init__(self, network: nn.Sequential):
        self.network = network

    def __call__(self, improve: bool = True) -> Tensor:
        """A scalar with a gradient; there is nothing to improve."""
        product = torch.ones((), device=next(self.network.parameters()).device)
        for name, layer in list(self.network.named_children())[:-1]:
            product = product * self._constant(name, layer)
        return product

    def _constant(self, name: str, layer: nn.Module) -> Tensor | float:
        row = row_of(layer)
        if isinstance(layer, Residual) and row is not None:
            skip = 1.0 if layer.skip is None else self._constant(f"{name}.skip", layer.skip)
            return skip + math.prod(
                self._constant(f"{name}.branch.{inner}", one) for inner, one in layer.branch.named_children()
            )
        if row is None or row.linf is None:
            raise UncertifiableLayerError(f"{name}: no Lipschitz estimate for a {type(layer).__name__} in l-infinity")
        return row.linf(layer)

    @torch.no_grad()
    def converge(self) -> Tensor:
        return self()

    def margins(self, body: Tensor) -> Tensor:
        """K_ij for an estimate of the body: [C, C]."""
        return margin_lipschitz(body, weight_of(self.network[-1]), "linf")

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The state is empty."""


def margin_lipschitz(body_lipschitz: Tensor, head_weight: Tensor, norm: str = "l2") -> Tensor:
    """K_ij = K_body ||w_i - w_j|| in the dual norm; a bound if `body_lipschitz` is one. [] and [C, F] to [C, C]."""
    if norm == "linf":
        return body_lipschitz * torch.cdist(head_weight, head_weight, p=1.0)
    # Without the matrix product, equal rows give exactly 0, where the gradient is 0 as well.
    return body_lipschitz * torch.cdist(head_weight, head_weight, compute_mode="donot_use_mm_for_euclid_dist")


def _norms(vectors: Tensor, keepdim: bool = False) -> Tensor:
    """The l2 norm of each of the G vectors; its gradient at 0 is 0."""
    return torch.linalg.vector_norm(vectors, dim=list(range(1, vectors.ndim)), keepdim=keepdim)


def _output_shape(layer: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a layer's output, given that of its input. Layers with weights that are not named here keep it."""
    if isinstance(layer, nn.Linear):
        return (layer.out_features,)
    if isinstance(layer, nn.Conv2d):
        return sizes_of(layer, shape).output_shape
    if isinstance(layer, FrequencyConv):
        return (len(layer.bias), *shape[1:])
    if isinstance(layer, Sandwich):
        return (layer.out_features, *shape[1:])
    return shape if layer.state_dict() else tuple(layer(torch.zeros(1, *shape)).shape[1:])
