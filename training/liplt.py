"""LipLT by power iteration: for training only. An estimate may lie below the truth; it proves nothing.

The recursion is that of `zoo.bounds.liplt`, the norm of every product estimated on the product itself, in one batch.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from training.estimate import STEPS, margin_lipschitz
from training.layers import weight_of
from zoo.bounds.table import LINEAR, SLOPES
from zoo.errors import UncertifiableLayerError
from zoo.layers import Pixels, Residual

MAX_CLASSES = 100  # with more, `margins` compares the rows of the head only, as the paper's code does
Product = tuple[int, int]  # (k, j): W_k H^_{k-1} ... H^_{j+1} G_j, j = -1 for the input


class Step(NamedTuple):
    """H x + G phi(W x) by the names of its linear layers; skip is H, None for 0."""

    before: tuple[str, ...]  # W
    after: tuple[str, ...] = ()  # G
    skip: tuple[str, ...] | None = None
    centre: float = 0.5
    halfwidth: float = 0.5


class LipLTEstimate:
    """Estimates of the body's Lipschitz constant and of each pair's, differentiable, improved at every call.

    A call gives the constant of the features that enter the head, `margins` then those of f_j - f_i [C, C]. A vector
    for each product is kept from call to call (`state_dict`). All products pass a layer in one batch, detached; the
    gradient flows through the last norm.

    Source: Fazlyab, Entesari, Roy, Chellappa 2023 (CRM, LipLT), Theorem 3.3 and section 4.1.1.
    Raises UncertifiableLayerError for a layer that is neither linear nor an activation with slopes in [alpha, beta].
    """

    def __init__(self, network: nn.Sequential, input_shape: tuple[int, int, int], seed: int, iterations: int):
        self.network = network
        self.iterations = iterations
        self.scale = 1.0
        self.steps = list(self._steps())
        self.inputs: list[tuple[int, ...]] = []  # the shapes of each x_k and y_k
        self.hidden: list[tuple[int, ...]] = []
        weight = next(network.parameters())
        with torch.no_grad():
            state = torch.zeros(1, *input_shape).to(weight)
            for step in self.steps:
                self.inputs.append(tuple(state.shape[1:]))
                state = self._through(self._weights(), step.before, state)
                self.hidden.append(tuple(state.shape[1:]))
                state = self._through(self._weights(), step.after, state)
        generator = torch.Generator().manual_seed(seed)
        self.vectors: dict[Product, Tensor] = {}
        for k in range(len(self.steps)):
            for j in range(-1, k):
                start = torch.randn(input_shape if j < 0 else self.hidden[j], generator=generator)
                self.vectors[k, j] = (start / start.norm()).to(weight)
        self.constants: list[Tensor] = []  # m_k, of the last call

    def _steps(self) -> Iterable[Step]:
        pending: tuple[str, ...] = ()
        for name, layer in list(self.network.named_children())[:-1]:
            kind = parametrize.type_before_parametrizations(layer)
            if isinstance(layer, Pixels):
                self.scale *= float(layer.scale.abs().max())
            elif kind in LINEAR:
                pending = (*pending, name)
            elif kind in SLOPES:
                yield Step(pending, (), None, *_sector(kind))
                pending = ()
            elif isinstance(layer, Residual):
                names = [f"{name}.branch.{inner}" for inner, _ in layer.branch.named_children()]
                kinds = [parametrize.type_before_parametrizations(one) for one in layer.branch]
                places = [place for place, one in enumerate(kinds) if one not in LINEAR]
                if len(places) != 1 or kinds[places[0]] not in SLOPES:
                    raise UncertifiableLayerError(f"{name}: no LipLT estimate, it is not H x + G phi(W x)")
                before, after = tuple(names[: places[0]]), tuple(names[places[0] + 1 :])
                skip = () if layer.skip is None else (f"{name}.skip",)
                yield Step(pending + before, after, pending + skip, *_sector(kinds[places[0]]))
                pending = ()
            else:
                raise UncertifiableLayerError(f"{name}: no LipLT estimate for a {kind.__name__}, use the product's")
        yield Step(pending)  # the features; its activation is never used

    def _weights(self, detached: bool = False) -> dict[str, Tensor]:
        names = {name for step in self.steps for path in (step.before, step.after, step.skip or ()) for name in path}
        layers = {name: self.network.get_submodule(name) for name in names}
        weights = {name: weight_of(layer) for name, layer in layers.items() if hasattr(layer, "weight")}
        return {name: weight.detach() if detached else weight for name, weight in weights.items()}

    def _through(self, weights: Mapping[str, Tensor], path: tuple[str, ...], x: Tensor) -> Tensor:
        """The linear layers on a path, one after the other, without their biases."""
        for name in path:
            layer = self.network.get_submodule(name)
            x = LINEAR[parametrize.type_before_parametrizations(layer)](layer, weights.get(name), x)
        return x

    def _images(self, weights: Mapping[str, Tensor], vectors: Mapping[Product, Tensor]) -> dict[Product, Tensor]:
        """Each product's image of its vector; all of them pass a layer together."""
        images: dict[Product, Tensor] = {}
        batch: dict[Product, Tensor] = {}  # at x_k
        for k, step in enumerate(self.steps):
            starting = [key for key in vectors if key[1] == k - 1]
            started = torch.stack([vectors[key] for key in starting])
            if k:
                started = self._through(weights, self.steps[k - 1].after, started)
            batch |= dict(zip(starting, started, strict=True))
            states = torch.stack(list(batch.values()))
            inner = self._through(weights, step.before, states)
            images |= {key: image for key, image in zip(batch, inner, strict=True) if key[0] == k}
            going = [place for place, key in enumerate(batch) if key[0] > k]
            if not going:
                break
            states, inner = states[going], inner[going]
            outer = step.centre * self._through(weights, step.after, inner)
            if step.skip is not None:
                outer = outer + self._through(weights, step.skip, states)
            batch = dict(zip([key for key in batch if key[0] > k], outer, strict=True))
        return images

    def _iterate(self, iterations: int) -> None:
        """v <- P^T P v / |P^T P v| for each product P: the gradient of |P v|^2 / 2 at v."""
        weights = self._weights(detached=True)
        for _ in range(iterations):
            with torch.enable_grad():
                vectors = {key: vector.detach().requires_grad_(True) for key, vector in self.vectors.items()}
                energy = torch.stack([image.square().sum() for image in self._images(weights, vectors).values()])
                moved = torch.autograd.grad(energy.sum() / 2, list(vectors.values()))
            for (key, old), new in zip(self.vectors.items(), moved, strict=True):
                norm = new.norm()
                self.vectors[key] = torch.where(norm > 0, new / norm, old)

    def _recursion(self) -> Tensor:
        images = self._images(self._weights(), self.vectors)
        self.constants = []
        for k in range(len(self.steps)):
            constant = self.scale * images[k, -1].norm()
            for j, m in enumerate(self.constants):
                constant = constant + self.steps[j].halfwidth * images[k, j].norm() * m
            self.constants.append(constant)
        return self.constants[-1]

    def __call__(self, improve: bool = True) -> Tensor:
        """The LipLT constant of the body, after a few more iterations where asked: a scalar with a gradient."""
        if improve:
            self._iterate(self.iterations)
        return self._recursion()

    @torch.no_grad()
    def converge(self, tolerance: float = 1e-5, limit: int = 2000) -> Tensor:
        """The estimate once STEPS more iterations raise it by no more than `tolerance`, relatively, or at the limit."""
        before = self._recursion()
        for _ in range(limit // STEPS):
            self._iterate(STEPS)
            after = self._recursion()
            if bool(after <= before * (1 + tolerance)):
                break
            before = after
        return self._recursion()

    def margins(self, body: Tensor) -> Tensor:
        """K_ij, the constants of f_j - f_i as of the last call, which gave `body`: [C, C], 0 on the diagonal."""
        weights, head = self._weights(), weight_of(self.network[-1])
        if len(head) > MAX_CLASSES:
            return margin_lipschitz(body, head)
        rows = self._back(weights, self.steps[-1].before, head, self.inputs[-1])
        total = torch.zeros(len(head), len(head)).to(head)
        for k in reversed(range(len(self.steps) - 1)):
            step = self.steps[k]
            inner = self._back(weights, step.after, rows, self.hidden[k])
            total = total + step.halfwidth * margin_lipschitz(self.constants[k], inner.flatten(1))
            outer = step.centre * self._back(weights, step.before, inner, self.inputs[k])
            rows = outer if step.skip is None else outer + self._back(weights, step.skip, rows, self.inputs[k])
        return total + margin_lipschitz(torch.tensor(self.scale).to(head), rows.flatten(1))

    def _back(
        self, weights: Mapping[str, Tensor], path: tuple[str, ...], rows: Tensor, shape: tuple[int, ...]
    ) -> Tensor:
        """u A for each row u, A the path's product on inputs of this shape: the gradient of x -> u A x."""
        if not path:
            return rows
        differentiable = torch.is_grad_enabled()
        with torch.enable_grad():
            start = rows.new_zeros(len(rows), *shape).requires_grad_(True)
            images = self._through(weights, path, start)
            return torch.autograd.grad(images, start, rows, create_graph=differentiable)[0]

    def state_dict(self) -> dict[str, Any]:
        return {"vectors": self.vectors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.vectors = {key: state["vectors"][key].to(old) for key, old in self.vectors.items()}


def _sector(kind: type[nn.Module]) -> tuple[float, float]:
    """Centre and halfwidth of an activation's slopes."""
    alpha, beta = SLOPES[kind]
    return (alpha + beta) / 2, (beta - alpha) / 2
