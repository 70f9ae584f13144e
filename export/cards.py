"""python -m export.cards: render the card of every folder in model_cards/ again, after a change of its wording."""

from export.card import render
from export.publish import SHELF, pin, seal
from zoo.folder import SUMS, read_folder


def main() -> None:
    for sums in sorted(SHELF.glob(f"*/{SUMS}")):
        folder = read_folder(sums.parent)
        card = render(folder.config, folder.certificate, folder.evaluation)
        (folder.path / "README.md").write_text(card)
        pin({folder.config.name: seal(folder.path)})
        print(f"rendered {folder.path / 'README.md'}")


if __name__ == "__main__":
    main()
