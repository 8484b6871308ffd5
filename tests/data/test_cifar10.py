"""Reader of CIFAR-10: both official versions give the same data set, and invalid folders raise."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.official_format import (
    BATCHES,
    Python2Pickler,
    batch_binary,
    batch_pickle,
    draw_batches,
    meta_pickle,
    write_binary_version,
    write_python_version,
)
from tinygrad_cifar.data import cifar10, load_dataset
from tinygrad_cifar.data.builtin import builtin_dataset
from tinygrad_cifar.data.cifar10 import CLASS_NAMES, MAX_FILE_BYTES, read_cifar10
from tinygrad_cifar.data.dataset import DataError

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 3
DRAWN = draw_batches(COUNT)


@pytest.fixture
def python_version(tmp_path):
    return write_python_version(tmp_path / "python", DRAWN)


@pytest.fixture
def binary_version(tmp_path):
    return write_binary_version(tmp_path / "binary", DRAWN)


@pytest.fixture(params=["python", "binary"])
def either_version(request, tmp_path):
    write = {"python": write_python_version, "binary": write_binary_version}[request.param]
    return write(tmp_path / request.param, DRAWN)


def file_of(folder: Path, name: str) -> Path:
    return next(path for path in folder.iterdir() if path.stem == name)


@pytest.mark.parametrize("index", range(6))
def test_every_pixel_and_label_is_read(either_version, index):
    data = read_cifar10(either_version)
    found = (*data.training_batches, data.test)[index]
    images, labels = DRAWN[index]
    np.testing.assert_array_equal(found.images, images)
    np.testing.assert_array_equal(found.labels, labels)


def test_both_versions_have_the_same_identity(python_version, binary_version):
    assert read_cifar10(python_version).identity()["sha256"] == read_cifar10(binary_version).identity()["sha256"]


def test_name_and_classes(either_version):
    data = read_cifar10(either_version)
    assert data.name == "CIFAR-10 format, not the official files"
    assert data.class_names == CLASS_NAMES


def known(folder, monkeypatch):
    """Let the files of a folder be the official ones."""
    digests = tuple(hashlib.md5((folder / name).read_bytes()).hexdigest() for name in BATCHES)
    monkeypatch.setattr(cifar10, "_OFFICIAL_MD5", digests)
    monkeypatch.setattr(cifar10, "_OFFICIAL_SIZE", len(DRAWN[0][1]))


def test_the_official_files_are_named_cifar10(python_version, monkeypatch):
    known(python_version, monkeypatch)
    assert read_cifar10(python_version).name == "CIFAR-10"


@pytest.mark.parametrize("k", range(6))
def test_one_changed_label_is_named(python_version, k, monkeypatch):
    known(python_version, monkeypatch)
    images, labels = DRAWN[k]
    (python_version / BATCHES[k]).write_bytes(batch_pickle(images, [(labels[0] + 1) % 10, *labels[1:]]))
    assert read_cifar10(python_version).name == "CIFAR-10 format, not the official files"


def test_the_binary_version_is_not_verified_and_says_so(tmp_path):
    pixels = np.zeros((10_000, 3072), np.uint8)
    balanced = [k % 10 for k in range(10_000)]
    folder = write_binary_version(tmp_path / "balanced", [(pixels, balanced)] * 6)
    assert read_cifar10(folder).name == "CIFAR-10 (binary version, not verified)"
    (folder / "data_batch_1.bin").write_bytes(batch_binary(pixels, [3] * 10_000))
    assert read_cifar10(folder).name == "CIFAR-10 format, not the official files"


def test_images_are_contiguous(either_version):
    assert read_cifar10(either_version).test.images.flags.c_contiguous


def test_fortran_order_is_supported(python_version):
    (python_version / "test_batch").write_bytes(batch_pickle(*DRAWN[5], fortran=True))
    np.testing.assert_array_equal(read_cifar10(python_version).test.images, DRAWN[5][0])


@pytest.mark.parametrize(
    ("subfolder", "write"),
    [("cifar-10-batches-py", write_python_version), ("cifar-10-batches-bin", write_binary_version)],
)
def test_subfolder_of_the_archive_is_found(tmp_path, subfolder, write):
    write(tmp_path / subfolder, DRAWN)
    assert len(read_cifar10(str(tmp_path)).test) == COUNT


def test_a_missing_folder_raises(tmp_path):
    with pytest.raises(DataError, match=r"folder '.*nowhere' does not exist"):
        read_cifar10(tmp_path / "nowhere")


def test_a_file_instead_of_a_folder_raises(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"file is not a folder; `tinygrad-cifar fetch DIR --from FILE` unpacks"):
        read_cifar10(tmp_path / "file")


def test_a_folder_with_other_content_raises_with_advice(tmp_path):
    with pytest.raises(DataError, match="does not contain CIFAR-10; `tinygrad-cifar fetch DIR`"):
        read_cifar10(tmp_path)


@pytest.mark.parametrize("name", [*BATCHES, "batches"])
def test_a_missing_file_raises_with_advice(either_version, name):
    path = next(path for path in either_version.iterdir() if path.name.startswith(name))
    path.unlink()
    with pytest.raises(DataError, match=f"{path.name} is missing; `tinygrad-cifar fetch DIR`"):
        read_cifar10(either_version)


@pytest.mark.parametrize("length", [0, 1, 100, 3073, 2 * 3073 + 5, -1])
@pytest.mark.parametrize("name", ["data_batch_1", "data_batch_4", "test_batch"])
def test_a_truncated_batch_raises_with_its_name(either_version, name, length):
    path = file_of(either_version, name)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match=name):
        read_cifar10(either_version)


def test_a_damaged_batch_raises_with_the_advice_once(either_version):
    path = file_of(either_version, "test_batch")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError) as failure:
        read_cifar10(either_version)
    assert str(failure.value).count("tinygrad-cifar fetch DIR") == 1


@pytest.mark.parametrize("content", [b"", b"\x80\x02}.", b"nonsense"])
def test_damaged_metadata_raise(either_version, content):
    path = next(path for path in either_version.iterdir() if path.name.startswith("batches.meta"))
    path.write_bytes(content)
    with pytest.raises(DataError, match=path.name):
        read_cifar10(either_version)


def test_class_names_of_another_data_set_raise(python_version):
    names = [b"apple", b"baby", b"bear", b"beaver", b"bed", b"bee", b"bus", b"can", b"cloud", b"cup"]
    (python_version / "batches.meta").write_bytes(meta_pickle(COUNT, names))
    with pytest.raises(DataError, match="does not contain the class names of CIFAR-10"):
        read_cifar10(python_version)


def test_a_number_of_images_other_than_declared_raises(python_version):
    (python_version / "batches.meta").write_bytes(meta_pickle(10_000))
    with pytest.raises(DataError, match=f"data_batch_1 must contain 10000 images; got {COUNT}"):
        read_cifar10(python_version)


def test_a_batch_shorter_than_the_others_raises(either_version):
    images, labels = DRAWN[2]
    path = file_of(either_version, "data_batch_3")
    path.write_bytes((batch_binary if path.suffix else batch_pickle)(images[:2], labels[:2]))
    with pytest.raises(DataError, match=rf"data_batch_3.* must contain {COUNT} images; got 2"):
        read_cifar10(either_version)


@pytest.mark.parametrize("label", [10, 255])
def test_a_label_out_of_range_raises(either_version, label):
    path = file_of(either_version, "data_batch_2")
    path.write_bytes((batch_binary if path.suffix else batch_pickle)(DRAWN[1][0], [0, label, 1]))
    with pytest.raises(DataError, match=r"label of image 1 in .*data_batch_2.* is not from 0 to 9"):
        read_cifar10(either_version)


P = Python2Pickler
DATA = P().array(DRAWN[0][0])
WRONG_BATCHES = {
    "no array": P().dictionary(labels=b"](K\x01K\x01K\x01e"),
    "array of one axis": P().dictionary(data=P().array(np.zeros(3072, np.uint8)), labels=b"]K\x01a"),
    "images of another size": P().dictionary(data=P().array(np.zeros((1, 784), np.uint8)), labels=b"]K\x01a"),
    "array that is a string": P().dictionary(data=b"U\x03abc", labels=b"](K\x01K\x01K\x01e"),
    "no labels": P().dictionary(data=DATA),
    "fine labels only": P().dictionary(data=DATA, fine_labels=b"](K\x01K\x01K\x01e"),
    "too few labels": P().dictionary(data=DATA, labels=b"](K\x01K\x01e"),
    "labels that are an array": P().dictionary(data=DATA, labels=P().array(np.ones(3, np.uint8))),
    "negative label": P().dictionary(data=DATA, labels=b"](K\x01K\x01J\xff\xff\xff\xffe"),
    "huge label": P().dictionary(data=DATA, labels=b"](K\x01K\x01\x8a\x64" + b"\x7f" * 100 + b"e"),
    "label that is a string": P().dictionary(data=DATA, labels=b"](K\x01K\x01U\x011e"),
    "label that is nothing": P().dictionary(data=DATA, labels=b"](K\x01K\x01Ne"),
    "a program": b"cos\nsystem\nU\x04true\x85R.",
}


@pytest.mark.parametrize("case", WRONG_BATCHES)
def test_a_batch_with_other_content_raises_with_its_name(python_version, case):
    (python_version / "data_batch_1").write_bytes(WRONG_BATCHES[case])
    with pytest.raises(DataError, match="data_batch_1"):
        read_cifar10(python_version)


def test_an_oversized_file_is_not_read(python_version):
    with (python_version / "data_batch_1").open("r+b") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(DataError, match=f"data_batch_1 has {MAX_FILE_BYTES + 1} bytes, more than any"):
        read_cifar10(python_version)


def test_a_folder_instead_of_a_file_raises(either_version):
    path = file_of(either_version, "test_batch")
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=r"test_batch.* is not a regular file"):
        read_cifar10(either_version)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_raises_without_blocking(python_version):
    path = python_version / "data_batch_1"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="data_batch_1 is not a regular file"):
        read_cifar10(python_version)


def test_load_dataset_returns_the_builtin_data_or_reads_a_folder(python_version):
    assert load_dataset("builtin").identity() == builtin_dataset().identity()
    assert load_dataset(python_version).identity() == read_cifar10(python_version).identity()
    assert load_dataset(str(python_version)).name == read_cifar10(python_version).name


@pytest.mark.skipif(not os.environ.get("TINYGRAD_CIFAR_DATA"), reason="TINYGRAD_CIFAR_DATA names no folder")
def test_the_real_files_have_sixty_thousand_images():
    identity = read_cifar10(os.environ["TINYGRAD_CIFAR_DATA"]).identity()
    assert (identity["training_images"], identity["test_images"]) == (50_000, 10_000)


def test_a_folder_that_cannot_be_read_raises(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        read_cifar10(tmp_path)
