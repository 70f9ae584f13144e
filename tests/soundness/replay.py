"""A network's value in exact arithmetic, layer by layer, written without the zoo's own code.

Every float is a fraction whose denominator is a power of two, so nothing is rounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

import mpmath
import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from zoo.layers import (
    Abs,
    ConvExponential,
    ConvexPotential,
    FirstChannels,
    FrequencyConv,
    GroupSort,
    Householder,
    L2Pool,
    LInfDistance,
    MinMax,
    PadChannels,
    PatchPool,
    Pixels,
    PositionOffset,
    Residual,
    Sandwich,
    SelfAttention,
    SortedDistance,
    SpatialShift,
    TokenLinear,
)

Exact = NDArray[np.object_]  # of Fractions
SCALE = 149  # every float32 is an integer times 2^-149
DIGIT = 16  # bits of the digits that exact products are made of


def exact(array: ArrayLike | Tensor) -> Exact:
    """The floats of an array as Fractions."""
    floats = np.asarray(array.detach().double().numpy() if isinstance(array, Tensor) else array, dtype=np.float64)
    fractions = np.empty(floats.shape, dtype=object)
    for index in np.ndindex(floats.shape):
        fractions[index] = Fraction(float(floats[index]))
    return fractions


def replay(layers: Iterable[nn.Module], image: Exact) -> Exact:
    """The network's value for one image [C, H, W], in exact arithmetic."""
    for layer in layers:
        image = _apply(layer, image)
    return image


def _apply(layer: nn.Module, x: Exact) -> Exact:
    match layer:
        case Pixels():
            clamped = np.minimum(np.maximum(x, Fraction(0)), Fraction(1))
            return (clamped - exact(layer.mean)[:, None, None]) * exact(layer.scale)[:, None, None]
        case MinMax():
            half, y = len(x) // 2, x.copy()
            for pair in range(half):
                first, second = (pair, pair + half) if layer.pairing == "halves" else (2 * pair, 2 * pair + 1)
                y[first], y[second] = np.maximum(x[first], x[second]), np.minimum(x[first], x[second])
            return y
        case nn.ReLU():
            return np.maximum(x, Fraction(0))
        case nn.LeakyReLU():
            return np.maximum(x, x * Fraction(layer.negative_slope))
        case nn.Hardtanh():
            return np.minimum(np.maximum(x, Fraction(layer.min_val)), Fraction(layer.max_val))
        case Abs():
            first = len(x) if layer.channels is None else layer.channels
            return np.concatenate([np.abs(x[:first]), x[first:]])
        case SpatialShift():
            y, size = x.copy(), layer.group
            for start, step, axis in ((0, 1, 1), (size, -1, 1), (2 * size, 1, 2), (3 * size, -1, 2)):
                y[start : start + size] = np.roll(x[start : start + size], step, axis)
            return y
        case PositionOffset():
            return x + exact(layer.weight)
        case L2Pool():
            k, (channels, rows, columns) = layer.size, x.shape
            squares = (x * x).reshape(channels, rows // k, k, columns // k, k).sum(axis=(2, 4))
            return np.array([_root(entry) for entry in squares.flat], dtype=object).reshape(squares.shape)
        case GroupSort():
            groups = x.reshape(-1, layer.size, *x.shape[1:])
            return -np.sort(-groups, axis=1).reshape(x.shape)
        case nn.Identity() | nn.Dropout():
            return x
        case nn.Unflatten():
            return x.reshape(layer.unflattened_size)
        case nn.ChannelShuffle():
            return x.reshape(layer.groups, -1, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)
        case nn.AvgPool2d() | nn.AdaptiveAvgPool2d() | nn.MaxPool2d():
            return _pooled(layer, x)
        case nn.BatchNorm2d():
            mean, variance = exact(layer.running_mean), exact(layer.running_var)
            weight, bias = (
                exact(np.full(len(x), value) if tensor is None else tensor)
                for tensor, value in ((layer.weight, 1.0), (layer.bias, 0.0))
            )
            scale = weight / np.array([_root(entry + Fraction(layer.eps)) for entry in variance], dtype=object)
            return (x - mean[:, None, None]) * scale[:, None, None] + bias[:, None, None]
        case nn.Flatten():
            return x.reshape(-1)
        case Residual():
            return (x if layer.skip is None else replay([layer.skip], x)) + replay(layer.branch, x)
        case PadChannels():
            zeros = np.full((layer.channels - len(x), *x.shape[1:]), Fraction(0), dtype=object)
            return np.concatenate([x, zeros])
        case FirstChannels():
            return x[: layer.channels]
        case nn.PixelUnshuffle():
            k, (channels, rows, columns) = layer.downscale_factor, x.shape
            cells = x.reshape(channels, rows // k, k, columns // k, k).transpose(0, 2, 4, 1, 3)
            return cells.reshape(channels * k**2, rows // k, columns // k)
        case PatchPool():
            k, (channels, rows, columns) = layer.size, x.shape
            return x.reshape(channels, rows // k, k, columns // k, k).sum(axis=(2, 4)) / Fraction(k)
        case Householder():
            first, second = exact(layer.weight).reshape(2, -1, *[1] * (x.ndim - 1))
            one, other = x[: len(x) // 2], x[len(x) // 2 :]
            below = np.minimum(first * one + second * other, Fraction(0))
            return np.concatenate([one - first * below, other - second * below])
        case TokenLinear():
            flat = x.reshape(len(x), -1).T
            return (_product(layer.weight, flat) + exact(layer.bias)[:, None]).T.reshape(x.shape)
        case SelfAttention():
            return _attention(layer, x.reshape(len(x), -1).T).T.reshape(x.shape)
        case ConvexPotential():
            column = (-1, *[1] * (x.ndim - 1))
            hidden = np.maximum(_same(layer.weight, x) + exact(layer.bias).reshape(column), Fraction(0))
            weight = layer.weight.transpose(0, 1)
            adjoint = weight if x.ndim == 1 else weight.flip(2, 3)
            return x - _same(adjoint, hidden * exact(layer.step).reshape(column))
        case ConvExponential():
            term = total = x
            for power in range(1, layer.terms + 1):
                term = _same(layer.weight, term) / Fraction(power)
                total = total + term
            return total + exact(layer.bias)[:, None, None]
        case FrequencyConv():
            return _circular(exact(layer.weight), x, layer.padding) + exact(layer.bias)[:, None, None]
        case Sandwich():
            outer, inner = np.split(exact(layer.weight), [layer.out_features], axis=-1)
            if layer.size is None:
                cells = x.reshape(len(x), -1)
                hidden = np.maximum(inner @ cells + exact(layer.bias)[:, None], Fraction(0))
                return (2 * outer.T @ hidden).reshape(-1, *x.shape[1:])
            hidden = np.maximum(_circular(inner, x, 0) + exact(layer.bias)[:, None, None], Fraction(0))
            adjoint = outer.swapaxes(-1, -2) * np.array([1, -1], dtype=object)[:, None, None, None, None]
            return 2 * _circular(adjoint, hidden, 0)
        case LInfDistance():
            return np.abs(x - exact(layer.weight)).max(axis=1) + exact(layer.bias)
        case SortedDistance():
            return weighed(layer, np.abs(x - exact(layer.weight))) + exact(layer.bias)
        case nn.Linear():
            return _product(layer.weight, x) + exact(layer.bias)
        case nn.ConvTranspose2d():
            return _scattered(layer, x)
        case nn.Conv2d() if layer.groups > 1 or layer.dilation != (1, 1) or layer.padding_mode != "zeros":
            return _tap_by_tap(layer, x)
        case nn.Conv2d():
            return _product(layer.weight.flatten(1), _windows(layer, x)) + exact(layer.bias)[:, None, None]
    raise AssertionError(f"no exact {type(layer).__name__}")


def weighed(layer: SortedDistance, gaps: Exact) -> Exact:
    """[O, I] to [O]: the shares times the largest gaps, one after the other."""
    return np.sort(gaps, axis=1)[:, ::-1][:, : layer.terms] @ exact(layer.shares())


def _attention(layer: SelfAttention, tokens: Exact) -> Exact:
    """[T, C] to the same. Lengths above 1 are irrational: they stand here to 2^-400 of themselves."""
    roots = [_root(max(Fraction(1), sum(entry * entry for entry in token))) for token in tokens]
    projected = np.array([token / root for token, root in zip(tokens, roots, strict=True)], dtype=object).T
    query, key, value = (_product(weight, projected).T for weight in (layer.query, layer.key, layer.value))
    size, mixed = tokens.shape[1] // layer.heads, np.empty(tokens.shape, dtype=object)
    for first in range(0, tokens.shape[1], size):
        head = slice(first, first + size)
        for i in range(len(tokens)):  # by the scores of each pair, as the definition has it
            scores = 1 + key[:, head] @ query[i, head]
            mixed[i, head] = (scores @ value[:, head]) / Fraction(4 * len(tokens))
    return mixed


def turns(torus: int) -> tuple[Exact, Exact]:
    """Cosines and sines of the multiples of 2 pi / torus, to 2^-400."""
    parts = np.empty((2, torus), dtype=object)
    with mpmath.workprec(440):
        for turn in range(torus):
            for part, function in enumerate((mpmath.cospi, mpmath.sinpi)):
                parts[part, turn] = Fraction(int(mpmath.nint(function(mpmath.mpf(2 * turn) / torus) * 2**400)), 2**400)
    return parts[0], parts[1]


def _circular(weight: Exact, x: Exact, padding: int) -> Exact:
    """By the definition: the kernel on the torus that has these matrices [2, h, t, O, I], then its sums."""
    half, torus, outputs, inputs = weight.shape[1:]
    cosine, sine = turns(torus)
    kernel = np.full((torus, torus, outputs, inputs), Fraction(0), dtype=object)
    for row, column, k, m in np.ndindex(torus, torus, torus, torus):
        at, sign = ((k, m), 1) if k < half else ((-k % torus, -m % torus), -1)
        turn = (k * row + m * column) % torus
        kernel[row, column] += (weight[0][at] * cosine[turn] - sign * weight[1][at] * sine[turn]) / torus**2
    side = x.shape[1]
    y = np.full((outputs, side, side), Fraction(0), dtype=object)
    for i, j, k, m in np.ndindex(side, side, side, side):
        y[:, i, j] += kernel[(i - k) % torus, (j - m) % torus] @ x[:, k, m]
    return y


def _tap_by_tap(layer: nn.Conv2d, x: Exact) -> Exact:
    """By the definition: zero or circular padding, gaps between taps, groups of channels."""
    weight, bias = exact(layer.weight), exact(layer.bias)
    (top, left), (down, right), (tall, wide) = layer.padding, layer.stride, layer.dilation
    rows = (x.shape[1] + 2 * top - tall * (weight.shape[2] - 1) - 1) // down + 1
    columns = (x.shape[2] + 2 * left - wide * (weight.shape[3] - 1) - 1) // right + 1
    made, inside = len(weight) // layer.groups, x.shape[0] // layer.groups
    y = np.empty((len(weight), rows, columns), dtype=object)
    for o, i, j in np.ndindex(y.shape):
        y[o, i, j] = bias[o]
        for c, a, b in np.ndindex(weight.shape[1:]):
            row, column = i * down - top + a * tall, j * right - left + b * wide
            if layer.padding_mode == "circular":
                row, column = row % x.shape[1], column % x.shape[2]
            if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                y[o, i, j] += weight[o, c, a, b] * x[o // made * inside + c, row, column]
    return y


def _scattered(layer: nn.ConvTranspose2d, x: Exact) -> Exact:
    """Every pixel adds its multiple of the kernel to the output."""
    weight, bias = exact(layer.weight), exact(layer.bias)
    sides = [
        (side - 1) * step - 2 * edge + width + more
        for side, step, edge, width, more in zip(
            x.shape[1:], layer.stride, layer.padding, weight.shape[2:], layer.output_padding, strict=True
        )
    ]
    y = np.broadcast_to(bias[:, None, None], (len(bias), *sides)).copy()
    for c, i, j in np.ndindex(x.shape):
        for o, a, b in np.ndindex(weight.shape[1:]):
            row = i * layer.stride[0] - layer.padding[0] + a
            column = j * layer.stride[1] - layer.padding[1] + b
            if 0 <= row < sides[0] and 0 <= column < sides[1]:
                y[o, row, column] += weight[c, o, a, b] * x[c, i, j]
    return y


def _root(square: Fraction) -> Fraction:
    """To 2^-400 of itself."""
    return Fraction(math.isqrt(square.numerator * square.denominator << 800), square.denominator << 400)


def _pooled(layer: nn.AvgPool2d | nn.AdaptiveAvgPool2d | nn.MaxPool2d, x: Exact) -> Exact:
    """Window by window, as PyTorch's pages define it."""
    channels, *sides = x.shape
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        sizes = layer.output_size if isinstance(layer.output_size, tuple) else (layer.output_size,) * 2
        outputs = [side if size is None else size for side, size in zip(sides, sizes, strict=True)]
        layer = nn.AvgPool2d(tuple(side // size for side, size in zip(sides, outputs, strict=True)))
    kernel, stride, padding, dilation = (
        value if isinstance(value, tuple) else (value, value)
        for value in (layer.kernel_size, layer.stride, layer.padding, getattr(layer, "dilation", 1))
    )
    reach = [gap * (side - 1) + 1 for gap, side in zip(dilation, kernel, strict=True)]
    starts = [
        range(-edge, side + edge - far + 1, step)
        for edge, side, far, step in zip(padding, sides, reach, stride, strict=True)
    ]
    pooled = np.empty((channels, *map(len, starts)), dtype=object)
    for channel, i, j in np.ndindex(pooled.shape):
        rows = range(starts[0][i], starts[0][i] + reach[0], dilation[0])
        columns = range(starts[1][j], starts[1][j] + reach[1], dilation[1])
        inside = [x[channel, r, c] for r in rows for c in columns if 0 <= r < sides[0] and 0 <= c < sides[1]]
        if isinstance(layer, nn.MaxPool2d):
            pooled[channel, i, j] = max(inside)
        else:
            pooled[channel, i, j] = sum(inside, Fraction(0)) / (layer.divisor_override or kernel[0] * kernel[1])
    return pooled


def _windows(layer: nn.Conv2d, x: Exact) -> Exact:
    """What each output reads, zero padding included: [I k k, rows, columns]."""
    (height, width), (down, right), (top, left) = layer.weight.shape[2:], layer.stride, layer.padding
    padded = np.full((len(x), x.shape[1] + 2 * top, x.shape[2] + 2 * left), Fraction(0), dtype=object)
    padded[:, top : top + x.shape[1], left : left + x.shape[2]] = x
    rows = range(0, padded.shape[1] - height + 1, down)
    columns = range(0, padded.shape[2] - width + 1, right)
    windows = [[padded[:, i : i + height, j : j + width].reshape(-1) for j in columns] for i in rows]
    return np.array(windows, dtype=object).transpose(2, 0, 1)


def _same(weight: Tensor, x: Exact) -> Exact:
    """The matrix, or the zero-padded convolution of odd kernel that keeps the map's size, without a bias."""
    if x.ndim == 1:
        return _product(weight, x)
    out, channels, side, _ = weight.shape
    layer = nn.Conv2d(channels, out, side, padding=side // 2)
    return _product(weight.flatten(1), _windows(layer, x))


def _product(weight: Tensor, x: Exact) -> Exact:
    """The matrix product over the first axis of x, in integers over one denominator."""
    denominator = math.lcm(*(entry.denominator for entry in x.flat))
    numerators = [entry.numerator * (denominator // entry.denominator) for entry in x.flat]
    matrix = [int(math.ldexp(entry, SCALE)) for entry in weight.detach().double().flatten().tolist()]
    inner, columns = weight.shape[1], x.size // len(x)
    first, second = _digits(matrix).reshape(-1, len(weight), inner), _digits(numerators).reshape(-1, inner, columns)
    sums = np.zeros((len(first) + len(second) - 1, len(weight), columns), dtype=object)
    for place, digit in enumerate(first):
        if digit.any():
            products = digit @ second  # of at most 2^20 terms below 2^32: exact in binary64
            sums[place : place + len(second)] += products.astype(np.int64)
    total = sum(level << DIGIT * place for place, level in enumerate(sums))
    fractions = [Fraction(int(entry), denominator << SCALE) for entry in np.ravel(total)]
    return np.array(fractions, dtype=object).reshape(len(weight), *x.shape[1:])


def _digits(numbers: list[int]) -> NDArray[np.float64]:
    """Integers as sums of digits times powers of 2^DIGIT, each digit with the number's sign: [digits, N]."""
    size = max(1, -(-max(map(abs, numbers)).bit_length() // DIGIT))
    content = b"".join(abs(number).to_bytes(size * DIGIT // 8, "little") for number in numbers)
    signs = np.array([-1.0 if number < 0 else 1.0 for number in numbers])
    return np.frombuffer(content, f"<u{DIGIT // 8}").reshape(-1, size).T * signs
