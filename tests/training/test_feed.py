"""What is trained on: sources in memory and on disk, the order, and how a batch is shared."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training.augment import Crop, Flip
from training.data import InMemory, Streamed, load_generated, load_training_data, seeded
from training.feed import Feed, Order
from training.stream import WINDOW, FolderImages, ParquetImages
from zoo.data.datasets import DATASETS
from zoo.data.splits import split_files
from zoo.errors import InputError


def numbered(count: int, side: int = 8) -> InMemory:
    """Image i has the label i, and every pixel of it is i."""
    labels = torch.arange(count)
    return InMemory(labels.to(torch.uint8)[:, None, None, None].expand(-1, 3, side, side).clone(), labels)


def test_a_pass_has_every_image_once_and_the_next_another_order():
    order = Order(numbered(10), 10, 0)
    first, second = order.take(0, 10), order.take(10, 10)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10))
    assert first.tolist() != second.tolist()
    assert torch.equal(Order(numbered(10), 10, 0).take(7, 6), torch.cat([first[7:], second[:3]]))


@pytest.mark.parametrize(("accumulate", "processes"), [(1, 1), (3, 1), (1, 2), (2, 3)])
def test_the_shares_of_all_processes_are_the_batch(accumulate, processes):
    def batches(first: int, accumulate: int, process: int, processes: int) -> list[list]:
        generated = (numbered(5), 2, (Flip(),))
        feed = Feed(numbered(20), 8, (Crop(1), Flip()), 0, generated, accumulate, process, processes)
        assert feed.epoch_steps == 2
        assert feed.batch_size == 24
        return list(feed.batches(first, 5))

    whole = batches(0, 1, 0, 1)
    assert [len(pieces) for pieces in whole] == [1] * 5
    shared = [batches(2, accumulate, process, processes) for process in range(processes)]  # as resumed
    for step in range(2, 5):
        pieces = [piece for share in shared for piece in share[step - 2]]
        assert len(pieces) == accumulate * processes
        sizes = [len(labels) for _, labels in pieces]
        assert max(sizes) - min(sizes) <= 3
        ours = sorted((int(label), bytes(image.numpy())) for images, labels in pieces
                      for image, label in zip(images, labels, strict=True))  # fmt: skip
        images, labels = whole[step][0]
        assert ours == sorted((int(label), bytes(i.numpy())) for i, label in zip(images, labels, strict=True))


def test_a_share_without_an_image_is_refused():
    with pytest.raises(InputError, match="a batch of 3 images has not one for each of 2 processes and 2 pieces"):
        Feed(numbered(3), 8, (), 0, accumulate=2, processes=2)


def picture(number: int, size: tuple[int, int]) -> Image.Image:
    return Image.new("RGB", size, (number, number, number))


CIFAR = DATASETS["cifar10"].labels


@pytest.fixture
def folder(tmp_path):
    """Two images in each of CIFAR-10's classes, of all sizes."""
    for label, name in enumerate(CIFAR):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(2):
            image = picture(label * 10 + number, (40 + label, 60 - 3 * number))
            image.save(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


def test_a_folder_is_streamed_with_the_classes_of_its_data_set(folder):
    data = load_training_data("cifar10", folder=folder)
    assert data.name == "images"
    seen = []
    for source in (data.train, data.validation):
        rows = torch.arange(len(source))
        for images, labels in source.batches([(rows, torch.rand(len(rows), 3)), (rows, None)]):
            assert images.shape == (len(rows), 3, 32, 32)
            assert images.dtype == torch.uint8
            assert torch.equal(labels, images[:, 0, 0, 0].long() // 10)
            seen += images[:, 0, 0, 0].tolist()
    assert sorted(set(seen)) == sorted({label * 10 + number for label in range(10) for number in range(2)})
    assert len(seen) == 40


def test_the_first_images_of_a_folder_are_of_all_classes(tmp_path):
    for label, name in enumerate(CIFAR):
        (tmp_path / name).mkdir()
        for number in range(3 if label else 1):
            (tmp_path / name / f"{number}.png").touch()
    images = FolderImages(DATASETS["cifar10"], tmp_path)
    assert images.labels.tolist() == [*range(10), *range(1, 10), *range(1, 10)]
    assert [path.parent.name for path in images.files] == [CIFAR[label] for label in images.labels]
    data = load_training_data("cifar10", limit=10, folder=tmp_path)
    assert len(data.train) + len(data.validation) == 10


def test_a_training_crop_is_a_square_part_and_validation_shows_the_centre(tmp_path):
    """A picture whose red is its column and whose green is its row tells what part of it one sees."""
    places = np.indices((90, 120)).transpose(1, 2, 0)
    pixels = np.concatenate([places[..., 1:], places[..., :1], np.zeros((90, 120, 1))], axis=2).astype(np.uint8)
    for name in CIFAR:
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "a.png")
    source = Streamed(FolderImages(DATASETS["cifar10"], tmp_path), torch.arange(10), (30, 3), torch.device("cpu"))
    crops = torch.rand(10, 3, generator=seeded(0))
    (random, _), (centred, _) = source.batches([(torch.arange(10), crops), (torch.arange(10), None)])
    across, down = centred[0, 0].float(), centred[0, 1].float()
    assert across[0, 0] == pytest.approx(16, abs=1)
    assert across[0, -1] == pytest.approx(103, abs=1)
    assert (down[0, 0].item(), down[-1, 0].item()) == (pytest.approx(1, abs=1), pytest.approx(88, abs=1))
    sides = (random[:, 0, 0, -1].float() - random[:, 0, 0, 0]) / 29 * 30
    assert (sides - (random[:, 1, -1, 0].float() - random[:, 1, 0, 0]) / 29 * 30).abs().max() < 2
    assert sides.min() > 68  # 7/9 of 90 is 70
    assert sides.max() < 92
    assert len(set(sides.tolist())) > 5


def test_parquet_is_streamed_by_row_groups_and_every_image_comes_once(write_split, monkeypatch):
    write_split("cifar10", count=60, row_group=1)
    monkeypatch.setattr("training.stream.WINDOW", 4)
    encoded = ParquetImages(DATASETS["cifar10"], split_files(DATASETS["cifar10"], "train"))
    source = Streamed(encoded, torch.arange(60), (32, 3), torch.device("cpu"))
    order = source.order(seeded(1))
    assert sorted(order.tolist()) == list(range(60))
    turn = torch.randperm(60, generator=seeded(1))  # of each row group
    late = torch.arange(60) - turn[order]
    assert late.abs().max() <= 4
    assert late.unique().numel() > 3  # shuffled within the window, too
    labels = [labels for _, labels in source.batches((rows, None) for rows in order.split(7))]
    assert torch.equal(torch.cat(labels), order % 10)
    assert len(encoded.kept) <= 2 * 4 + 1
    memory = load_training_data("cifar10")
    streamed = Streamed(encoded, torch.arange(60), (32, 3), torch.device("cpu"))
    ((images, _),) = streamed.batches([(torch.arange(60), None)])
    everything = {bytes(image.numpy()) for source in (memory.train, memory.validation) for image in source.images}
    assert {bytes(image.numpy()) for image in images} == everything  # pictures of the right size keep their pixels
    assert WINDOW > 4


def test_a_streamed_data_set_is_cut_as_the_others_are(write_split, monkeypatch):
    monkeypatch.setitem(DATASETS, "cifar10", replace(DATASETS["cifar10"], streamed=True))
    write_split("cifar10", count=30)
    data = load_training_data("cifar10", limit=20)
    assert isinstance(data.train, Streamed)
    assert (len(data.train), len(data.validation)) == (18, 2)
    assert sorted([*data.train.chosen.tolist(), *data.validation.chosen.tolist()]) == list(range(20))


def test_a_broken_picture_in_a_stream_is_named(folder):
    (folder / "cat" / "0.png").write_bytes(b"not a picture")
    source = load_training_data("cifar10", folder=folder).train
    with pytest.raises(InputError, match=r"cat/0\.png cannot be decoded"):
        for _ in source.batches([(torch.arange(18), None)] * 2):
            pass


def test_a_folder_that_has_not_the_classes_is_refused(folder, tmp_path):
    def refused(name: str = "cifar10", where: Path = folder) -> str:
        with pytest.raises(InputError) as raised:
            load_training_data(name, folder=where)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert "is no folder" in refused(where=tmp_path / "nothing")
    assert "images/airplane is not named after a class of cifar100: apple, aquarium_fish" in refused("cifar100")
    assert "two-moons is computed" in refused("two-moons")
    (folder / "cat" / "0.png").unlink()
    (folder / "cat" / "1.png").rename(folder / "cat" / ".1.png")
    assert "images has no images in cat" in refused()
    shutil.rmtree(folder / "cat")
    assert "images has no subfolder for cat: cifar10 has 10 classes" in refused()


def test_the_names_of_imagenet_are_its_numbers_in_wordnet_or_words(tmp_path):
    """Class folders come in the order of the data set's numbers, whatever name each goes by."""
    (tmp_path / "1.png").touch()
    info = DATASETS["tiny-imagenet"]
    for label, name in enumerate(info.labels):
        wordnet = {number: name for name, number in info.numbers.items() if name.startswith("n") and name[1:].isdigit()}
        place = tmp_path / "images" / (wordnet[label] if label % 2 else name)
        place.mkdir(parents=True)
        (place / "1.JPEG").touch()
    assert FolderImages(info, tmp_path / "images").labels.tolist() == list(range(200))
    (tmp_path / "images" / "n01443537").mkdir()
    with pytest.raises(InputError, match=r"goldfish and .*n01443537 are the same class of tiny-imagenet"):
        FolderImages(info, tmp_path / "images")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        ({"label": 10}, "has label 10, cifar10 has the classes 0 to 9"),
        ({"count": 0}, "has no images"),
        ({"damage": True}, "not a readable parquet file"),
    ],
)
def test_a_stream_that_cannot_be_read_is_said_in_one_line(write_split, write, message):
    damage = write.pop("damage", False)
    path = write_split("cifar10", **write)
    if damage:
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=message):
        ParquetImages(DATASETS["cifar10"], split_files(DATASETS["cifar10"], "train"))


def test_generated_images_are_read_from_npz(write_split):
    path = write_split("cifar10").parent / "generated.npz"
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    np.savez(path, image=images, label=np.arange(4, dtype=np.int32))
    source = load_generated("cifar10")
    assert torch.equal(source.images, torch.from_numpy(images).permute(0, 3, 1, 2))
    assert source.labels.dtype == torch.int64
    assert source.labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (None, "is missing: put generated images there"),
        (b"zip", "not an npz file with the arrays `image` and `label`"),
        ({"images": np.zeros(3)}, "not an npz file with the arrays `image` and `label`"),
        ({"image": np.zeros((2, 32, 32, 3)), "label": np.zeros(2)}, "`image` is float64"),
        ({"image": np.zeros((2, 3, 32, 32), np.uint8), "label": np.zeros(2)}, r"expected uint8 \[N, 32, 32, 3\]"),
        ({"image": np.zeros((2, 32, 32, 3), np.uint8), "label": np.zeros(3)}, r"`label` \[3\]"),
        ({"image": np.zeros((0, 32, 32, 3), np.uint8), "label": np.zeros(0)}, r"`label` \[0\]"),
        ({"image": np.zeros((2, 32, 32, 3), np.uint8), "label": np.array([0, 10])}, "image 1 has label 10"),
        ({"image": np.zeros((2, 32, 32, 3), np.uint8), "label": np.array([None, {}])}, "not an npz file"),
        (
            {"image": np.zeros((2, 32, 32, 3), np.uint8), "label": np.array([0.5, 1])},
            "labels are float64, expected int",
        ),
        ({"image": np.zeros((2, 32, 32, 3), np.uint8), "label": np.array(["0", "a"])}, "labels are <U1, expected int"),
    ],
)
def test_generated_images_that_cannot_be_used_are_said_in_one_line(write_split, arrays, message):
    path = write_split("cifar10").parent / "generated.npz"
    if isinstance(arrays, bytes):
        path.write_bytes(arrays)
    elif arrays is not None:
        np.savez(path, **arrays)
    with pytest.raises(InputError, match=message) as raised:
        load_generated("cifar10")
    assert "\n" not in str(raised.value)
