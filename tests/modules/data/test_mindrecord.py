"""MindRecord files, written by MindSpore: their images are those of the folder that they were made from."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
from pathlib import Path

import mindspore.dataset as ds
import numpy as np
import pytest
from support.records import COLUMNS, change_header, change_index, read_folder, write_record

from mindcv_halo.data import create_dataset, create_loader, create_transforms, find_bad_images
from mindcv_halo.data.image_folder import list_class_folders, scan_image_folder
from mindcv_halo.errors import UserError


@pytest.fixture
def folder(make_folder) -> Path:
    return make_folder({"train/cat": 3, "train/ant": 2, "train/dog": 6})


@pytest.mark.parametrize("num_parts", [1, 4, 12])
def test_a_record_is_the_folder_that_it_was_made_from(folder, tmp_path, num_parts):
    root = tmp_path / "records"
    write_record(root / "train.mindrecord", read_folder(folder / "train"), num_parts)
    record, images = scan_image_folder(root, "train"), scan_image_folder(folder, "train")
    assert record.class_names == images.class_names == tuple(list_class_folders(root, "train"))
    np.testing.assert_array_equal(record.labels, images.labels)
    for files in (record.storage, copy.deepcopy(record.storage), pickle.loads(pickle.dumps(record.storage))):
        for path, original in zip(record.paths, map(Path, images.paths), strict=True):
            content = original.read_bytes()
            assert path.endswith(f"/{original.parent.name}/{original.name}")
            assert files.read(path) == content and files.size(path) == len(content)
            assert files.read_ends(path, 12) == (content[:12], content[-12:])
            assert files.read_ends(path, 1 << 20) == (content, content)


def test_batches_are_those_of_the_folder(folder, tmp_path):
    write_record(tmp_path / "train.mindrecord", read_folder(folder / "train"), 2)
    transform = create_transforms("", 16, is_training=True, re_prob=0.5)

    def load(root: Path) -> list[tuple[np.ndarray, ...]]:
        ds.config.set_seed(3)
        dataset = create_dataset("", str(root), "train", num_parallel_workers=2)
        loader = create_loader(dataset, 4, is_training=True, transform=transform, num_parallel_workers=1)
        return list(loader.create_tuple_iterator(num_epochs=1, output_numpy=True))

    for batch, expected in zip(load(tmp_path), load(folder), strict=True):
        for column, other in zip(batch, expected, strict=True):
            np.testing.assert_array_equal(column, other)


@pytest.mark.parametrize(
    ("written", "split"),
    [
        (("train.mindrecord", 1), "train"),
        (("train.mindrecord", 3), "train"),
        (("train.mindrecord", 3), "train.mindrecord1"),  # a part stands for all
        (("imagenet_train.mindrecord", 2), "imagenet_train"),
        (("images.record", 1), "images.record"),
    ],
)
def test_names_of_splits(folder, tmp_path, written, split):
    name, num_parts = written
    write_record(tmp_path / "records" / name, read_folder(folder / "train"), num_parts)
    assert len(scan_image_folder(tmp_path / "records", split).paths) == 11


def test_a_folder_wins_over_a_record(folder):
    write_record(folder / "train.mindrecord", read_folder(folder / "train")[:2])
    assert len(scan_image_folder(folder, "train").paths) == 11


def test_a_split_that_is_not_there(folder, tmp_path):
    write_record(tmp_path / "records/train.mindrecord", read_folder(folder / "train"))
    with pytest.raises(UserError, match=r"split 'val' is no folder in .*; it has train.mindrecord; choose one of them"):
        create_dataset("", str(tmp_path / "records"), "val")


# The columns file_name of four rows with the labels 4, 2, 2 and 12; the classes and the order of the rows that follow.
IN_ORDER = [0, 1, 2, 3]
NAMES = {
    "folders": (["a/b/3.jpg", "a/a/1.jpg", "a/a/0.jpg", "a/9/2.jpg"], ("a", "b", "9"), [2, 1, 0, 3]),
    "folders of Windows": (["a\\b\\3.jpg", "a\\a\\1.jpg", "a\\a\\0.jpg", "a\\9\\2.jpg"], ("a", "b", "9"), [2, 1, 0, 3]),
    "no folders": (["3.jpg", "1.jpg", "0.jpg", "2.jpg"], ("2", "4", "12"), IN_ORDER),
    "one folder": (["a/3.jpg", "a/1.jpg", "a/0.jpg", "a/2.jpg"], ("2", "4", "12"), IN_ORDER),
    "two folders of a label": (["b/3.jpg", "a/1.jpg", "c/0.jpg", "d/2.jpg"], ("2", "4", "12"), IN_ORDER),
    "folders that look the same": (["a/3.jpg", "é/1.jpg", "é/0.jpg", "e\u0301/2.jpg"], ("2", "4", "12"), IN_ORDER),
    "none": (None, ("2", "4", "12"), IN_ORDER),
}


@pytest.mark.parametrize("case", NAMES)
def test_names_of_classes(tmp_path, case):
    """Labels count the classes that there are, as those of folders do, in the order of the file's labels."""
    names, classes, order = NAMES[case]
    labels = [4, 2, 2, 12]
    rows = [{"image": bytes([number]), "label": label} for number, label in enumerate(labels)]
    columns = {name: kind for name, kind in COLUMNS.items() if names or name != "file_name"}
    if names:
        rows = [{**row, "file_name": name} for row, name in zip(rows, names, strict=True)]
    write_record(tmp_path / "train.mindrecord", rows, columns=columns, index=[*columns][1:])
    record = scan_image_folder(tmp_path, "train")
    assert record.class_names == classes
    assert [record.storage.read(path)[0] for path in record.paths] == order
    assert record.labels.tolist() == [sorted(set(labels)).index(labels[row]) for row in order]
    relabelled = scan_image_folder(tmp_path, "train", [*reversed(classes), "another"])
    assert relabelled.labels.tolist() == [len(classes) - 1 - label for label in record.labels]


@pytest.mark.parametrize(
    "others",
    [
        {"depth": {"type": "bytes"}, "mask": {"type": "bytes"}},
        {"vector": {"type": "float32", "shape": [3]}},
        {"a": {"type": "int32", "shape": [2]}, "z": {"type": "bytes"}},
    ],
)
def test_the_image_among_other_columns(tmp_path, others):
    """As MindSpore reads them, whichever of them come before and behind it."""
    columns = {"image": {"type": "bytes"}, "label": {"type": "int64"}, **others}
    rows = [{"image": bytes([65 + row]) * (row + 1), "label": row} for row in range(3)]
    for number, row in enumerate(rows):
        for name, kind in others.items():
            row[name] = (
                np.full(kind["shape"], number, kind["type"]) if "shape" in kind else name.encode() * (number + 1)
            )
    path = write_record(tmp_path / "train.mindrecord", rows, columns=columns, index=["label"])
    record = scan_image_folder(tmp_path, "train")
    own = [
        row["image"].tobytes()
        for row in ds.MindDataset(str(path), shuffle=False).create_dict_iterator(num_epochs=1, output_numpy=True)
    ]
    assert [record.storage.read(image) for image in record.paths] == own == [row["image"] for row in rows]


def test_a_column_that_is_called_image_or_data_or_alone(tmp_path):
    for name, other in (("image", "data"), ("data", "more"), ("picture", "")):
        columns = {column: {"type": "bytes"} for column in (name, other) if column} | {"label": {"type": "int32"}}
        row = {"label": 0, **{column: column.encode() for column in columns if column != "label"}}
        write_record(tmp_path / "train.mindrecord", [row], columns=columns, index=[])
        record = scan_image_folder(tmp_path, "train")
        assert record.storage.read(record.paths[0]) == name.encode()


def test_rows_on_several_pages(tmp_path):
    contents = [np.random.default_rng(row).bytes(12_000) for row in range(7)]  # two of them fit on a page
    rows = [{"image": content, "label": 0, "file_name": f"a/{row}.jpg"} for row, content in enumerate(contents)]
    write_record(tmp_path / "train.mindrecord", rows, num_parts=2)
    record = scan_image_folder(tmp_path, "train")
    assert [record.storage.read(path) for path in record.paths] == contents


def test_a_pipe_is_no_part(folder, tmp_path):
    """Opening it would wait for its writer."""
    first = write_record(tmp_path / "train.mindrecord", read_folder(folder / "train"), num_parts=2)
    other = first.with_name("train.mindrecord1")
    other.unlink()
    os.mkfifo(other)
    with pytest.raises(UserError, match="it is one of 2 parts, and not beside it is train.mindrecord1; copy"):
        scan_image_folder(tmp_path, "train")


def test_a_damaged_image_is_named(folder, tmp_path):
    rows = read_folder(folder / "train")
    rows[4]["image"] = b"no image"
    write_record(tmp_path / "records/train.mindrecord", rows)
    name = "/".join(Path(rows[4]["file_name"]).parts[-2:])
    (error,) = find_bad_images(str(tmp_path / "records"), "train")
    assert error.startswith(f"bad image file {tmp_path}/records/train.mindrecord/4/{name}: it holds no known image")


def test_spoilt_files(folder, tmp_path):
    """Bytes changed in the header, the index and the data: an error that names the file, or images, never a crash."""
    good = write_record(tmp_path / "good/train.mindrecord", read_folder(folder / "train"))
    index = Path(f"{good}.db")
    rng = np.random.default_rng(0)
    read, refused = 0, 0
    for turn in range(300):
        root = tmp_path / f"{turn % 2}"
        shutil.copytree(good.parent, root, dirs_exist_ok=True)
        spoilt = root / (good.name if turn % 3 else index.name)
        content = bytearray(spoilt.read_bytes())
        places = rng.integers(0, 900 if turn % 3 == 1 else len(content), 1 + turn % 4)
        content[int(places[0])] = int(rng.integers(256))
        for place in places[1:]:
            content[int(place)] ^= 1 << int(rng.integers(8))
        spoilt.write_bytes(content[: int(rng.integers(len(content)))] if turn % 10 == 0 else content)
        try:
            images = scan_image_folder(root, "train")
        except UserError as error:
            assert str(error).startswith(f"MindRecord {root / good.name}: ")
            refused += 1
            continue
        for path in images.paths:
            try:
                images.storage.read_ends(path, 12)
                assert len(images.storage.read(path)) == images.storage.size(path)
            except OSError as error:
                assert "MindRecord" in error.strerror
        read += 1
    assert min(read, refused) > 30


def test_an_index_of_another_file(folder, tmp_path):
    rows = read_folder(folder / "train")
    write_record(tmp_path / "other/train.mindrecord", rows[:5])
    write_record(tmp_path / "train.mindrecord", rows)
    shutil.copy(tmp_path / "other/train.mindrecord.db", tmp_path / "train.mindrecord.db")
    with pytest.raises(UserError, match="it has 11 rows, and its index train.mindrecord.db has 5; copy both anew"):
        scan_image_folder(tmp_path, "train")


@pytest.mark.parametrize("change", ["label_0 = 2 - label_0", "file_name_0 = 'a/b.jpg'"])
def test_an_index_with_other_labels_or_names(folder, tmp_path, change):
    """Such as that of the same images, written with other labels: each row has its own beside its image."""
    path = write_record(tmp_path / "train.mindrecord", read_folder(folder / "train"))
    change_index(path, f"UPDATE INDEXES SET {change} WHERE ROW_ID = 10")
    with pytest.raises(UserError, match="its index has other labels or names than its rows: .*; copy both anew"):
        scan_image_folder(tmp_path, "train")


@pytest.mark.parametrize("label", [0, 127, 128, 255, 256, 65_535, 65_536, 1_048_575])
@pytest.mark.parametrize("kind", ["int32", "int64"])
def test_labels_of_any_size(tmp_path, label, kind):
    rows = [{"image": b"0", "label": label}, {"image": b"1", "label": 3}]
    columns = {"image": {"type": "bytes"}, "label": {"type": kind}}
    write_record(tmp_path / "train.mindrecord", rows, columns=columns, index=["label"])
    record = scan_image_folder(tmp_path, "train")
    assert [record.class_names[number] for number in record.labels] == [str(label), "3"]


def test_an_index_that_is_replaced_while_images_are_in_use(folder, tmp_path):
    rows = read_folder(folder / "train")
    path = write_record(tmp_path / "train.mindrecord", rows)
    first = scan_image_folder(tmp_path, "train")
    Path(f"{path}.db").write_bytes(b"no index")
    with pytest.raises(UserError, match="its index train.mindrecord.db is damaged"):
        scan_image_folder(tmp_path, "train")
    assert first.storage.read(first.paths[0])


def test_parts_of_an_earlier_writing_and_of_a_neighbour_are_left_alone(folder, tmp_path):
    rows = read_folder(folder / "train")
    write_record(tmp_path / "train.mindrecord", rows, num_parts=4)
    write_record(tmp_path / "train.mindrecord", rows, num_parts=2)
    write_record(tmp_path / "fold1", rows, num_parts=2)
    write_record(tmp_path / "fold2", rows, num_parts=2)
    for split in ("train", "fold10", "fold21"):
        assert len(scan_image_folder(tmp_path, split).paths) == 11


@pytest.mark.parametrize("name", ["with space", "50%20", "a#b?c=d&e", "ä", os.fsdecode(b"n\xff8")])
def test_any_path(folder, tmp_path, name):
    write_record(tmp_path / "plain/train.mindrecord", read_folder(folder / "train"))
    shutil.copytree(tmp_path / "plain", tmp_path / name)
    assert len(scan_image_folder(tmp_path / name, "train").paths) == 11
    assert len(scan_image_folder(f"/{tmp_path}/{name}", "train").paths) == 11  # of two slashes


@pytest.mark.parametrize(
    "change",
    [
        {"shard_id": float("inf")},
        {"page_size": float("inf")},
        {"shard_addresses": []},
        {"header_size": -1},
        {"page_size": 0},
        {"schema": []},
        {"page": 5},
    ],
)
def test_headers_that_cannot_be(folder, tmp_path, change):
    path = write_record(tmp_path / "train.mindrecord", read_folder(folder / "train"))
    change_header(path, lambda header: header.update(change))
    with pytest.raises(UserError, match="it does not begin as a MindRecord file does"):
        scan_image_folder(tmp_path, "train")


def test_classes_that_a_model_lacks(folder, tmp_path):
    rows = [
        {name: value for name, value in row.items() if name != "file_name"} for row in read_folder(folder / "train")
    ]
    columns = {name: kind for name, kind in COLUMNS.items() if name != "file_name"}
    write_record(tmp_path / "train.mindrecord", rows, columns=columns, index=["label"])
    with pytest.raises(UserError, match=r"0, 1, 2 is none of the 3 classes .*; write it anew, with .* file_name"):
        scan_image_folder(tmp_path, "train", ["ant", "cat", "dog"])


def test_places_outside_of_the_file(folder, tmp_path):
    path = write_record(tmp_path / "train.mindrecord", read_folder(folder / "train"))
    for change in (
        "PAGE_ID_RAW = 1000000",
        "PAGE_ID_BLOB = 1000000",
        "PAGE_OFFSET_BLOB = -20000",
        "PAGE_OFFSET_BLOB_END = 5",
    ):
        change_index(path, f"UPDATE INDEXES SET {change} WHERE ROW_ID = 7")
        with pytest.raises(UserError, match="its index names places that it does not have: .*; copy both anew"):
            scan_image_folder(tmp_path, "train")
        write_record(path, read_folder(folder / "train"))
