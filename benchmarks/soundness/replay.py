"""The graph that ships beside the network in exact arithmetic: no emitted radius exceeds the exact quotient.

What the graph answers is compared with the network's value in fractions, by the evaluator of the soundness tests, which
shares no code with `zoo`:

    class_radii(x)[i] < (F_j - F_i) / K_ji,    |(f_j - f_i) - (F_j - F_i)| <= T_ji / 2,

F the exact logits and f the graph's. Between layers, numbers are rounded to multiples of 2^-PLACES, whose effect on a
margin is bounded by the layers' constants and counted on the unsafe side.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from benchmarks.soundness.subject import Subject, boundary
from tests.soundness.replay import Exact, exact, replay
from zoo.certificate.model import head_weights

PLACES = 400


def test(subject: Subject, count: int) -> dict[str, Any]:
    """The row of a model for `count` images: of the test split, but every second one next to a boundary."""
    near = np.concatenate(list(boundary(subject, subject.images[:200], 12, np.random.default_rng(2))))
    images = np.stack([(near if number % 2 else subject.images)[number] for number in range(count)])
    outputs = subject.model.outputs(images)
    tables = subject.proved.slack.tolist(), subject.proved.margin_lipschitz.tolist()
    violations, largest, levels = 0, Fraction(0), {Fraction(level) for level in subject.folder.certificate.levels}
    rounding = rounded_off(subject)
    for row, image in enumerate(images):
        truth, label = logits(subject, image), int(outputs.label[row])
        for other in range(len(truth)):
            if other == label:
                continue
            slack, lipschitz = (Fraction(table[label][other]) for table in tables)
            margin = truth[label] - truth[other]
            computed = Fraction(float(outputs.logits[row, label])) - Fraction(float(outputs.logits[row, other]))
            error = abs(computed - margin) + rounding
            violations += error > slack / 2
            largest = max(largest, 2 * error / slack)
            radius = Fraction(float(outputs.class_radii[row, other]))
            if radius not in levels:  # which intervals prove, not the quotient
                violations += radius * lipschitz > max(Fraction(0), margin - rounding)
    return {"images": count, "largest share of T": float(largest), "violations": int(violations)}


def logits(subject: Subject, image: np.ndarray) -> Exact:
    """The exact logits of one float32 image [C, H, W], up to the rounding that `rounded_off` allows for."""
    value = exact(image)
    for layer in subject.network:
        value = replay([layer], value)
        places = [Fraction(round(entry * 2**PLACES), 2**PLACES) for entry in value.flat]
        value = np.array(places, dtype=object).reshape(value.shape)
    return value


def rounded_off(subject: Subject) -> Fraction:
    """At most what rounding between the layers changes a margin by, in either norm."""
    error = Fraction(0)
    for layer in subject.folder.certificate.layers:
        error = error * Fraction(layer.lipschitz_bound) + Fraction(int(np.prod(layer.output_shape)), 2**PLACES)
    gain = max(sum(map(abs, row)) for row in exact(head_weights(subject.network)[0]))
    return 2 * (gain * error + Fraction(1, 2**PLACES))
