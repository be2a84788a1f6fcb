"""Which class has which label: everybody who can tell, in turn, and the refusal where nobody can."""

from __future__ import annotations

import logging
from pathlib import Path

import mindspore as ms
import pytest
from safetensors.numpy import save_file
from support.awkward_names import AWKWARD
from support.weight_files import arrays_of

from mindcv_halo import Predictor, create_model
from mindcv_halo.config import make_recipe
from mindcv_halo.config.options import DatasetOptions
from mindcv_halo.data import get_class_names
from mindcv_halo.data.class_names import format_class_names, imagenet_class_names, imagenet_synsets, name_all_classes
from mindcv_halo.data.image_folder import list_class_folders, scan_image_folder
from mindcv_halo.engine.convert import convert
from mindcv_halo.engine.labels import find_class_names, find_labels, note_order_of_numbers
from mindcv_halo.engine.setup import fit_class_names
from mindcv_halo.errors import UserError
from mindcv_halo.models.weights import open_weights, save_network, to_timm, write_weights

MODEL = "halonet_test"
SYNSETS = imagenet_synsets()


@pytest.fixture(scope="module")
def save(tmp_path_factory):
    """save(num_classes, names): a checkpoint, alone in a folder, that holds the names if there are some."""
    networks = {}

    def save(num_classes: int, names=None, suffix: str = ".ckpt") -> Path:
        if num_classes not in networks:
            networks[num_classes] = create_model(MODEL, num_classes=num_classes)
        path = tmp_path_factory.mktemp("weights") / f"model{suffix}"
        save_network(networks[num_classes], path, names)
        return path

    return save


@pytest.fixture
def folders(tmp_path):
    """folders(val=..., train=...): recipe options for a data set of these classes; nobody looks into their folders."""

    def make(**splits) -> dict[str, str]:
        for split, names in splits.items():
            for name in names:
                (tmp_path / "data" / split / name).mkdir(parents=True)
        return {"data_dir": str(tmp_path / "data")}

    return make


def labels_of(data: dict, checkpoint: Path | str, given=None, **options):
    recipe = make_recipe({"model": MODEL, "ckpt_path": str(checkpoint), **data, **options})
    return find_labels(recipe, given, list_found(recipe.dataset))


def list_found(options: DatasetOptions) -> list[str]:
    """The classes of the validation split, of which a folder may be empty here."""
    names = list_class_folders(options.root, options.val_split)
    return names or get_class_names(options.name, options.root, options.val_split)


def beside(checkpoint: Path, names) -> Path:
    (checkpoint.parent / "class_names.txt").write_text(format_class_names(names), encoding="utf-8")
    return checkpoint


def test_each_tells_before_the_next(save, folders, tmp_path):
    """Validation lacks b: by the folders' order, c would have b's label."""
    data = folders(val="acde", train="abcde")
    (tmp_path / "file").write_text("e\nd\nc\nb\na\n")
    inside, plain = save(5, "badce"), save(5)
    assert labels_of(data, inside, tmp_path / "file").folders == tuple("edcba")
    assert labels_of(data, inside, list("cabde")).folders == tuple("cabde")
    assert labels_of(data, inside).folders == tuple("badce")
    assert labels_of(data, plain).folders == tuple("abcde")
    assert labels_of(data, beside(plain, "cbade")).folders == tuple("cbade")
    assert labels_of(data, save(5, "badce", ".safetensors")).folders == tuple("badce")


@pytest.mark.parametrize("num_classes", [None, 5])
def test_a_class_that_is_missing_moves_no_label(save, folders, num_classes):
    options = {"num_classes": num_classes}
    assert labels_of(folders(val="bcde", train="abcde"), save(5), **options).folders.index("c") == 2


@pytest.mark.parametrize("num_classes", [None, 5])
def test_where_nobody_can_tell_validation_is_refused(save, folders, num_classes):
    data = folders(val="bcde")
    with pytest.raises(UserError) as refused:
        labels_of(data, save(5), num_classes=num_classes)
    text = str(refused.value)
    assert "val has 4 classes (b, c, d, e)" in text and "has 5 classes, and nothing says which of them" in text
    assert "--class_names FILE" in text and "class_names.txt" in text and "\n" not in text


def test_as_many_folders_as_classes_need_no_names(save, folders):
    labels = labels_of(folders(val="cab"), save(3))
    assert labels.folders == tuple("abc") and labels.origin.endswith("val, in their order")


def test_a_training_split_of_another_model_tells_nothing(save, folders):
    assert labels_of(folders(val="abc", train="abcd"), save(3)).origin.endswith("val, in their order")
    with pytest.raises(UserError, match=r"val has 3 classes .* has 6 classes, and nothing says"):
        labels_of({"data_dir": folders(train="e")["data_dir"]}, save(6))


@pytest.mark.parametrize("num_classes", [None, 3])
def test_too_many_folders(save, folders, num_classes):
    with pytest.raises(UserError, match=r"val has 4 classes \(a, b, c, d\), .* has 3 classes; .*--num_classes"):
        labels_of(folders(val="abcd"), save(3), num_classes=num_classes)


def test_a_recipe_may_have_more_classes_than_folders(save, folders):
    data = folders(val="ab", train="abc")
    labels = labels_of(data, save(7), num_classes=7)
    assert labels.folders[:4] == ("a", "b", "c", "class 3/7") and len(labels.names) == 7 and labels.num_named == 3
    own = fit_class_names(make_recipe({**data, "num_classes": 7}), list("abc"))
    assert labels_of(data, save(7, own)).folders == labels.folders == tuple(own)
    with pytest.raises(UserError, match=r"has 2 classes .* has 7 classes, and nothing says"):
        labels_of(data, save(7))  # nobody said that the run had so many


def test_a_run_must_not_have_fewer_classes_than_folders():
    recipe = make_recipe({"num_classes": 2, "data_dir": "images"})
    with pytest.raises(
        UserError, match=r"^num_classes 2 is less than the 3 classes of .*; give --num_classes 3 or more"
    ):
        fit_class_names(recipe, list("abc"))
    assert fit_class_names(make_recipe({}), list("abc")) == list("abc")


def test_no_folder_is_called_like_a_class_without_one():
    assert all("/" in name for name in name_all_classes(["class 1", "class 2"], 1000)[2:])


@pytest.mark.parametrize("given", [None, "file"])
def test_names_that_do_not_number_the_classes(save, folders, tmp_path, given):
    data = folders(val="ab")
    (tmp_path / "file").write_text("a\nb\n")
    given = given and tmp_path / given
    with pytest.raises(UserError, match=r"2 names, but num_classes is 3; give --num_classes 2, or the names of 3"):
        labels_of(data, beside(save(2), "ab"), given, num_classes=3)
    with pytest.raises(UserError, match=r"2 names, but the classifier of checkpoint .* has 3 classes"):
        labels_of(data, beside(save(3), "ab"), given)


def test_the_checkpoint_knows_better_than_its_folder(save, folders, monkeypatch, caplog):
    """A file that was moved, or whose folder another run has written to."""
    monkeypatch.setattr(logging.getLogger("mindcv_halo"), "propagate", True)
    checkpoint = beside(save(3, "abc"), "cba")
    assert labels_of(folders(val="ab"), checkpoint).folders == tuple("abc")
    assert "is of other classes than the checkpoint itself" in caplog.text


@pytest.mark.parametrize("found", [SYNSETS[5:15], SYNSETS], ids=["ten", "all"])
@pytest.mark.parametrize("num_classes", [None, 1000])
def test_synsets_are_imagenets(save, folders, found, num_classes):
    """A part of ImageNet, with its training split beside it, which has as few classes."""
    data = folders(val=found, train=found)
    for checkpoint in (save(1000), ""):
        weights = {"ckpt_path": str(checkpoint), "pretrained": not checkpoint}
        labels = labels_of({**data, **weights}, checkpoint, num_classes=num_classes)
        assert labels.folders == SYNSETS and labels.origin == "ImageNet's synsets"
        assert labels.names[0] == f"n01440764 {imagenet_class_names()[0]}"


def test_a_model_tuned_on_synsets_has_labels_of_its_own(save, folders):
    assert labels_of(folders(val=SYNSETS[5:15]), save(10)).folders == SYNSETS[5:15]


@pytest.mark.parametrize("kind", ["published", "timm"])
def test_published_weights_are_imagenets(folders, tmp_path, kind):
    """Of other folders nothing tells the labels, whatever the training split and the recipe say."""
    file, given = "", {"pretrained": True}
    if kind == "timm":
        file, given = tmp_path / "model.safetensors", {}
        save_file(to_timm(arrays_of(create_model(MODEL))), file, {"format": "pt"})
    data = folders(val="ab", train="ab") | given
    for num_classes in (None, 1000):
        with pytest.raises(UserError, match=r" has 1000 classes, and nothing says"):
            labels_of(data, file, num_classes=num_classes)
    labels = labels_of(folders(numbers=["10", "2", "999"]) | given | {"val_split": "numbers"}, file)
    assert labels.folders[10] == "10" and labels.origin == "ImageNet's numbers"


def test_numbers_count_as_text_and_the_log_says_so(save, folders):
    names = [str(number) for number in range(12)]
    labels = labels_of(folders(val=names), save(12))
    assert labels.folders[:4] == ("0", "1", "10", "11")
    assert note_order_of_numbers(labels.folders) == [
        "class folders that are numbers have labels in the order of text: label 4 is folder 2, after 11"
    ]
    assert note_order_of_numbers([f"{number:02d}" for number in range(12)]) == note_order_of_numbers("0123") == []
    assert note_order_of_numbers(["1", "10", "a"]) == []


def test_arrays_name_all_their_classes(save, tmp_path):
    """MNIST: whatever the labels of the test split are."""
    for name, header, size in (("images", 2051, (2, 28, 28)), ("labels", 2049, (2,))):
        kind = f"t10k-{name}-idx{len(size)}-ubyte"
        numbers = b"".join(number.to_bytes(4, "big") for number in (header, *size))
        (tmp_path / kind).write_bytes(numbers + bytes(2 * (784 if name == "images" else 1)))
    data = {"dataset": "mnist", "data_dir": str(tmp_path), "val_split": "test"}
    assert labels_of(data, save(10)).folders == tuple("0123456789")
    assert labels_of(data, save(12), num_classes=12).num_named == 10


def test_prediction_knows_what_validation_knows(save, folders, tmp_path):
    data = folders(train="abc")

    def names(checkpoint, given=None, **options):
        recipe = make_recipe({"model": MODEL, "ckpt_path": str(checkpoint), **options})
        return find_class_names(recipe, given)

    assert names(save(3, "cab")) == list("cab") and names(beside(save(3), "bca")) == list("bca")
    assert names(save(3), **data) == list("abc") and names(save(3)) == ["0", "1", "2"]
    assert names(save(4), **data) == ["0", "1", "2", "3"]
    assert names(save(3, "cab"), list("xyz")) == list("xyz")
    assert names(save(1000), **data) == names("", pretrained=True) == list(imagenet_class_names())
    predictor = Predictor(MODEL, checkpoint_path=save(3, "cab"), image_resize=32, device_target="CPU", mode=1)
    assert predictor.class_names == list("cab")


def test_names_go_where_the_weights_go(save, tmp_path):
    """Whatever they hold; MindSpore reads the file too."""
    start = save(len(AWKWARD), AWKWARD)
    assert open_weights(str(start)).class_names == AWKWARD
    assert "classifier.weight" in ms.load_checkpoint(str(start))
    convert(str(start), str(tmp_path / "a.safetensors"))
    convert(str(tmp_path / "a.safetensors"), str(tmp_path / "b.ckpt"))
    assert open_weights(str(tmp_path / "b.ckpt")).class_names == AWKWARD
    assert open_weights(str(save(3))).class_names is None


@pytest.mark.parametrize("text", ["", "[", '"abc"', '["a", 1, "c"]', '["a", "", "c"]', '["\\ud800"]', "[" * 99_999])
def test_damaged_names_in_a_checkpoint(text, tmp_path):
    arrays = arrays_of(create_model(MODEL, num_classes=3))
    write_weights(arrays, tmp_path / "model.safetensors", {"class_names": text})
    with pytest.raises(UserError, match=r"model.safetensors: its class names .* are no list of names in JSON"):
        open_weights(str(tmp_path / "model.safetensors"))


def test_accents_in_one_piece_and_in_two(save, folders):
    """As folders come back from a Mac."""
    data = folders(val=["cafe\u0301", "the\u0301"], train=["caf\u00e9", "th\u00e9", "zoo"])
    labels = labels_of(data, save(3))
    for name in ("cafe\u0301", "the\u0301"):
        (Path(data["data_dir"]) / "val" / name / "1.png").touch()
    found = scan_image_folder(data["data_dir"], "val", labels.folders)
    assert found.labels.tolist() == [0, 1]
    (Path(data["data_dir"]) / "val" / "caf\u00e9").mkdir()
    with pytest.raises(UserError, match=r"has two class folders that are both called caf\u00e9: .*accent.*into one"):
        scan_image_folder(data["data_dir"], "val", labels.folders)
    with pytest.raises(UserError, match="has two class folders that are both called"):
        scan_image_folder(data["data_dir"], "val")


def test_a_folder_whose_name_is_no_text(tmp_path):
    (tmp_path / "train" / "caf\udce9").mkdir(parents=True)
    with pytest.raises(UserError, match=r"class folder .*caf\\udce9: its name is no UTF-8, .*; rename it"):
        scan_image_folder(tmp_path, "train")


def test_strangers_and_doubles(tmp_path):
    for name in ("a", "b\nc"):
        (tmp_path / "val" / name).mkdir(parents=True)
        (tmp_path / "val" / name / "1.png").touch()
    with pytest.raises(UserError, match=r"val: b\\nc is none of the 2 classes of the model \(a, ' b'\)"):
        scan_image_folder(tmp_path, "val", ["a", " b"])
    with pytest.raises(UserError, match=r"val: a is the name of several of the 3 classes"):
        scan_image_folder(tmp_path, "val", ["a", "a", "b\nc"])
