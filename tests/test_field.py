"""The page of published rows: all of the registry's, and what else is known, each once and in order."""

from export.field import MORE, OTHERS, field_markdown
from zoo.epsilon import parse_epsilon
from zoo.registry import ENTRIES


def test_the_field_has_every_registered_row_and_says_whose_numbers_they_are():
    page = field_markdown()
    assert "Published by the authors, not measured by us" in page
    for name, entry in ENTRIES.items():
        if entry.reported is not None:
            network = f"| `{name.removesuffix(f'-{entry.dataset}')}` |"
            found = [line for line in page.splitlines() if line.startswith(network) and entry.reported.source in line]
            assert any(f"| {entry.reported.vra:.2f} |" in line for line in found), name
    assert all(page.count(row.source) for row in OTHERS)


def test_a_larger_radius_has_a_smaller_rate():
    """And no rate is above clean accuracy: what was copied wrong is mostly seen so."""
    rows = [(row.clean, row.vra) for row in OTHERS]
    for name, further in MORE.items():
        reported = ENTRIES[name].reported
        assert reported is not None, name
        assert reported.epsilon not in further, name
        rows.append((reported.clean, {reported.epsilon: reported.vra, **further}))
    for clean, vra in rows:
        rates = [vra[text] for text in sorted(vra, key=parse_epsilon)]
        assert rates == sorted(rates, reverse=True)
        assert len(set(rates)) == len(rates)
        assert clean is None or clean > rates[0]
