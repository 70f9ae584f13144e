"""Each row of the table is whole, and what it says of its layer beside the rules is true."""

from __future__ import annotations

import inspect
from dataclasses import astuple

import pytest
import torch
from torch import nn

import zoo.bounds
from zoo import layers
from zoo.bounds.rounding import UNDERFLOW
from zoo.bounds.rule import RAISED, Context, Row
from zoo.bounds.spectral import NormProof
from zoo.bounds.table import TABLE, bound_layer
from zoo.publication.verify import _least

from .test_linf import SOUND as SOUND_IN_LINF
from .test_rules import SOUND

WHOLE = TABLE[nn.Linear]
TORCH = {
    *(nn.ReLU, nn.LeakyReLU, nn.Hardtanh, nn.Identity, nn.Dropout, nn.Flatten, nn.Unflatten, nn.PixelUnshuffle),
    *(nn.ChannelShuffle, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.MaxPool2d, nn.BatchNorm2d, nn.Linear, nn.Conv2d),
    nn.ConvTranspose2d,
}


def test_the_rows_are_our_layers_and_these_of_torch():
    ours = {
        kind for _, kind in inspect.getmembers(layers, inspect.isclass) if kind.__module__.startswith(layers.__name__)
    }
    assert set(TABLE) == ours | TORCH
    assert set(SOUND) == {kind for kind, row in TABLE.items() if row.l2}
    assert set(SOUND_IN_LINF) == {kind for kind, row in TABLE.items() if row.linf}


@pytest.mark.parametrize("field", range(len(astuple(WHOLE))))
def test_no_field_of_a_row_can_be_left_out(field):
    values = dict(enumerate(vars(WHOLE).items()))
    del values[field]
    with pytest.raises(TypeError, match="missing 1 required"):
        Row(**dict(values.values()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"l2": None, "linf": None, "intervals": None}, "a rule in l2 or in linf"),
        ({"intervals": None}, "need each other"),
        ({"linf": None}, "need each other"),
        ({"slopes": (0.0, 1.0)}, "not both"),
        ({"linear": None, "slopes": (-0.1, 1.0)}, "slopes"),
    ],
)
def test_a_row_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(TypeError, match=message):
        Row(**vars(WHOLE) | changes)


@pytest.mark.parametrize("kind", [kind for kind, row in TABLE.items() if row.l2], ids=lambda kind: kind.__name__)
def test_what_a_row_says_beside_its_rules_holds(kind):
    row, generator = TABLE[kind], torch.Generator().manual_seed(0)
    for case in SOUND[kind]:
        x, y = torch.randn(2, 20, *case.shape, generator=generator)
        bound = bound_layer(case.layer, Context("layer", case.shape))
        if row.checked == "single" and bound.proof:
            terms = {name: bound.proof[name] for name in NormProof.__dataclass_fields__}
            assert bound.lipschitz_bound == NormProof(**terms).bound
        elif row.checked == "composed, at least 1":
            assert bound.lipschitz_bound >= 1.0
        with torch.no_grad():
            moved = case.layer(x.clone()) - case.layer(y.clone())
            if row.linear is not None:
                assert torch.allclose(
                    row.linear(case.layer, getattr(case.layer, "weight", None), x - y), moved, atol=1e-5
                )
            if row.slopes is not None:
                slopes = moved / (x - y)
                assert row.slopes[0] <= slopes.min() <= slopes.max() <= row.slopes[1]


MORE = 1.0 + 2.0**-20
CERTAIN = (0.0, 1.0)  # of layers that move numbers or choose among them


LAYERS = {
    "l2": {kind: [(case.layer, case.shape) for case in cases] for kind, cases in SOUND.items()},
    "linf": SOUND_IN_LINF,
}


@pytest.mark.parametrize(("norm", "kind"), [(norm, kind) for norm, kinds in LAYERS.items() for kind in kinds])
def test_what_verify_takes_a_little_lower_was_raised_before(norm, kind, monkeypatch):
    """`zoo verify` accepts some numbers 2^-31 below its own. They are sound then only if their rule took them times
    RAISED: with more in its place, each must grow as much."""

    def lowered():
        """The numbers of each layer that may be published a little below the verifier's own."""
        for layer, shape in LAYERS[norm][kind]:
            bound = bound_layer(layer, Context("layer", shape, norm=norm))
            least = _least(bound, TABLE[kind])
            yield {field: getattr(bound, field) for field in least if least[field] < getattr(bound, field)}

    plain = list(lowered())
    for module in vars(zoo.bounds).values():
        if getattr(module, "RAISED", None) == RAISED:
            monkeypatch.setattr(module, "RAISED", MORE)
    for before, after in zip(plain, lowered(), strict=True):
        for field, value in before.items():
            assert after[field] >= value * (1.0 + 2.0**-21) or value in CERTAIN or value <= 10 * UNDERFLOW, field
