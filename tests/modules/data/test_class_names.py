"""Names of classes: every shape of file, and ImageNet's list."""

from __future__ import annotations

import json

import pytest
from support.awkward_names import AWKWARD

from mindcv_halo.data.class_names import (
    format_class_names,
    imagenet_class_names,
    imagenet_synsets,
    name_labels,
    read_class_file,
)
from mindcv_halo.errors import UserError

NAMES = ["cat", "dog, hound", "owl"]


@pytest.mark.parametrize(
    "text",
    [
        "cat\ndog, hound\nowl\n",
        "cat\r\ndog, hound\r\nowl",
        "  cat\ndog, hound \nowl\n\n",
        '"cat"\n"dog, hound"\n  "\\u006fwl"\n',
        json.dumps(NAMES),
        json.dumps({"0": "cat", "2": "owl", "1": "dog, hound"}),
        json.dumps({"owl": 2, "cat": 0, "dog, hound": 1}),
        json.dumps({"0": ["n01", "cat"], "1": ["n02", "dog, hound"], "2": ["n03", "owl"]}),
    ],
    ids=["lines", "windows", "blanks", "strings", "list", "labels", "class_to_idx", "keras"],
)
def test_files(tmp_path, text):
    file = tmp_path / "names"
    file.write_text(text, newline="")
    assert read_class_file(file) == NAMES


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", r"there are none"),
        (b"[]", r"there are none"),
        (b"a\n\nb", r"the name of class 1 is ''; every class needs one"),
        (b'["a", 3]', r"the name of class 1 is 3"),
        (b'{"0": "a", "2": "b"}', r"2 classes, but none has the label 1"),
        (b'{"a": 0, "b": 0}', r"0 must be a label, a number of its own from 0 on"),
        (b'{"a": "b"}', r"'a' must be a label"),
        (b'{"-1": "b"}', r"'-1' must be a label"),
        (b'{"a": ', r"no JSON"),
        (b"\xff\xfe", r"it is no UTF-8 text"),
        (b"[" * 100_000, r"no JSON, it is nested too deeply$"),
        (b"[" * 500 + b"]" * 500, r"the name of class 0 is \[+\.\.\.\]+; every class needs one$"),
        (b'{"a": ' + b"1" * 5000 + b"}", r"no label has as many digits as a number in it$"),
        (b'{"' + b"1" * 5000 + b'": "a"}', r"'1+\.\.\.1+' must be a label"),
    ],
)
def test_bad_files(tmp_path, content, message):
    file = tmp_path / "names"
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"class_names {file}: .*{message}"):
        read_class_file(file)


@pytest.mark.parametrize("names", [[name] for name in AWKWARD] + [list(AWKWARD)], ids=ascii)
def test_any_name_comes_back_from_a_file(tmp_path, names):
    """Also if an editor of Windows had the file in between."""
    text = format_class_names(names)
    assert text.count("\n") == len(names) and text.isascii() or text.replace("\n", "").isprintable()
    for newline, encoding in (("\n", "utf-8"), ("\r\n", "utf-8-sig")):
        (tmp_path / "names").write_text(text, encoding=encoding, newline=newline)
        assert read_class_file(tmp_path / "names") == names
    (tmp_path / "names").write_text(json.dumps(names))
    assert read_class_file(tmp_path / "names") == names


def test_only_a_line_feed_ends_a_name(tmp_path):
    """In files that others, and earlier versions, wrote."""
    (tmp_path / "names").write_text("a\u2028b\nc\u0085d\ne\x0bf\x1cg\n", encoding="utf-8")
    assert read_class_file(tmp_path / "names") == ["a\u2028b", "c\u0085d", "e\x0bf\x1cg"]


def test_plain_names_stand_as_they_are():
    assert format_class_names(["cat", "a, b", "caf\u00e9", "猫"]) == "cat\na, b\ncaf\u00e9\n猫\n"


def test_what_is_no_text_is_no_name():
    with pytest.raises(UserError, match=r"class_names given: the name of class 1, 'caf\\udce9', is no Unicode text"):
        name_labels(["a", "caf\udce9"])


def test_a_byte_order_mark_is_no_part_of_it(tmp_path):
    for text in ("\n".join(NAMES), json.dumps(NAMES)):
        (tmp_path / "names").write_text(text, encoding="utf-8-sig")
        assert read_class_file(tmp_path / "names") == NAMES


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"class_names .*absent: No such file"):
        read_class_file(tmp_path / "absent")


def test_from_python():
    assert name_labels(NAMES) == name_labels(tuple(NAMES)) == name_labels(dict(enumerate(NAMES))) == NAMES
    with pytest.raises(UserError, match="class_names given: the name of class 0 is 7"):
        name_labels([7])


def test_imagenet():
    names = imagenet_class_names()
    assert len(names) == 1000
    known = {0: "tench", 207: "golden retriever", 281: "tabby", 817: "sports car", 999: "toilet tissue"}
    assert all(names[label].partition(",")[0] == name for label, name in known.items())
    assert imagenet_synsets()[0] == "n01440764" and list(imagenet_synsets()) == sorted(set(imagenet_synsets()))
