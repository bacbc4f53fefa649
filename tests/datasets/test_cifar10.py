import inspect
import pickle

import numpy as np
import PIL.Image
import pytest
import torch

from videossl.datasets.cifar10 import CLASSES, MemoryImage, cifar10, read_pickled
from videossl.datasets.hmdb51 import hmdb51

NAMES = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]


@pytest.fixture
def batches(tmp_path):
    """Writes all batches of 4 images each, pickled or binary; returns their pixels (4, 3, 32, 32) and labels by name."""

    def write(kind: str, folder: str = "") -> dict:
        rng, written = np.random.default_rng(0), {}
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        for name in NAMES:
            images, labels = rng.integers(0, 256, (4, 3, 32, 32), np.uint8), rng.integers(0, 10, 4)
            rows = images.reshape(4, -1)
            if kind == "pickled":
                batch = {
                    b"batch_label": b"batch 1",
                    b"data": rows,
                    b"labels": labels.tolist(),
                    b"filenames": [b"a.png"] * 4,
                }
                (place / name).write_bytes(pickle.dumps(batch, protocol=2))
            else:
                whole = np.concatenate([labels[:, None].astype(np.uint8), rows], 1)
                (place / f"{name}.bin").write_bytes(whole.tobytes())
            written[name] = images, labels
        return written

    return write


def test_it_is_called_like_the_data_sets_of_videos():
    assert inspect.signature(cifar10) == inspect.signature(hmdb51)


@pytest.mark.parametrize(("kind", "folder"), [("pickled", ""), ("binary", ""), ("pickled", "cifar-10-batches-py")])
def test_batches_hold_the_same_images_however_they_are_handed_out(kind, folder, batches, tmp_path):
    written = batches(kind, folder)
    train, test = cifar10(tmp_path), cifar10(tmp_path, train=False)
    assert len(train) == 20 and len(test) == 4 and train.benchmark is None and train.classes == list(CLASSES)
    for records, names in ((train, NAMES[:5]), (test, NAMES[5:])):
        for record in records:
            name, n = record["name"].split("/")
            assert name in names
            images, labels = written[name]
            assert record["label"] == labels[int(n)] and record["group"] == record["name"]
            assert torch.equal(record["frames"][[0]], torch.from_numpy(images[int(n)])[None])
    assert cifar10(tmp_path, size=(40, 48))[0]["frames"][np.array(0)].shape == (3, 40, 48)


def test_folders_of_images_are_read_too(tmp_path):
    for part in ("train", "test"):
        for n, name in enumerate(CLASSES):
            (tmp_path / part / name).mkdir(parents=True)
            PIL.Image.fromarray(np.full((32, 32, 3), 20 * n, np.uint8)).save(tmp_path / part / name / "0.png")
    records = cifar10(tmp_path, train=False)
    assert [record["label"] for record in records] == list(range(10)) and records.part == "test"
    assert records[3]["frames"][[0]].unique().tolist() == [60] and records.benchmark is None
    (tmp_path / "train" / "zebra").mkdir()
    with pytest.raises(ValueError, match=r"folders of .* zebra, but CIFAR-10's are airplane"):
        cifar10(tmp_path)


def test_the_real_subset_is_read(shared):
    train, test = (cifar10(shared / "cifar10", train=part) for part in (True, False))
    assert (len(train), len(test)) == (1200, 400) and train.complete
    assert (
        train[0]["frames"][[0]].shape == (1, 3, 32, 32)
        and np.bincount([r["label"] for r in test]).tolist() == [40] * 10
    )


def test_as_many_as_were_published_bear_the_benchmarks_name(tmp_path):
    rows = np.zeros((10_000, 3073), np.uint8)
    (tmp_path / "test_batch.bin").write_bytes(rows.tobytes())
    records = cifar10(tmp_path, train=False)
    assert records.name == "CIFAR-10 test" and records.benchmark == "CIFAR-10"


def test_an_image_in_memory_travels_to_workers():
    frames = MemoryImage("a", np.arange(48, dtype=np.uint8).reshape(3, 4, 4))
    again = pickle.loads(pickle.dumps(frames))
    assert len(again) == 1 and torch.equal(again[[0, 0]], frames[[0, 0]]) and again[[0, 0]].shape == (2, 3, 4, 4)
    with pytest.raises(ValueError, match="a has frames 0 to 0, but 1 was asked for"):
        frames[[1]]


class Wicked:
    """Would run code when it is unpickled."""

    def __reduce__(self):
        return print, ("code was run",)


def test_files_that_are_no_batches_are_told(batches, tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match="nowhere is not there"):
        cifar10(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"neither data_batch_1 nor data_batch_1.bin"):
        cifar10(tmp_path)
    for content, words in (
        (pickle.dumps({b"data": Wicked(), b"labels": []}), "asks for .*print"),
        (pickle.dumps({b"fine_labels": []}), 'lacks "data" and "labels"'),
        (b"text", "no pickled batch"),
        (pickle.dumps({b"data": np.zeros((1, 5), np.uint8), b"labels": [0]}), r"data of \(1, 5\)"),
        (pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [77]}), "labels 77 to 77"),
    ):
        (tmp_path / "test_batch").write_bytes(content)
        with pytest.raises(ValueError, match=words):
            read_pickled(tmp_path / "test_batch")
    assert "code was run" not in capsys.readouterr().out
    (tmp_path / "test_batch").unlink()
    (tmp_path / "test_batch.bin").write_bytes(bytes(3072))
    with pytest.raises(ValueError, match=r"3072 bytes, .* is cut short"):
        cifar10(tmp_path, train=False)
    for wrong in ({"split": 2}, {"lists": tmp_path}, {"index": tmp_path}):
        with pytest.raises(ValueError, match=f"has no {next(iter(wrong))}"):
            cifar10(tmp_path, **wrong)
