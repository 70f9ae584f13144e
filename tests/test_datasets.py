"""The data sets' tables: classes by number and by name."""

from __future__ import annotations

import pytest

from zoo.data.datasets import DATASETS, plain_labels


@pytest.mark.parametrize("name", DATASETS)
def test_classes_have_names_of_their_own(name: str):
    info = DATASETS[name]
    assert len(info.labels) == len(set(info.labels)) == info.classes
    assert set(info.numbers.values()) == set(range(info.classes))
    assert all(info.numbers[label] == number for number, label in enumerate(info.labels))


def test_labels_are_shown_without_numbers_where_that_tells_them_apart():
    labels = ("n07695742 pretzel", "n02012849 crane", "n03126707 crane", "cat", "n1 dog")
    assert plain_labels(labels) == ("pretzel", "n02012849 crane", "n03126707 crane", "cat", "n1 dog")
    assert DATASETS["imagenet"].numbers["n02012849"] == 134
    assert "crane" not in DATASETS["imagenet"].numbers
