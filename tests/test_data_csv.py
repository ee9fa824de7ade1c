"""Data sets in a .csv: what they become, and what is refused with which message."""

import numpy as np
import pytest
from deltarule import data
from parts import labelled, whole

IRIS = "petal,sepal,species\n1,0.5,setosa\n2,1.5,virginica\n3,2.5,setosa\n4,3.5,setosa\n5,-4e1,virginica\n"
SPECIES = {1.0: "setosa", 2.0: "virginica", 3.0: "setosa", 4.0: "setosa", 5.0: "virginica"}


@pytest.fixture
def csv(tmp_path):
    def save(text, encoding="utf-8"):
        (tmp_path / "table.csv").write_bytes(text.encode(encoding))
        return tmp_path / "table.csv"

    return save


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (IRIS, None),
        (IRIS.split("\n", 1)[1], None),
        (IRIS.replace(",", ";"), None),
        (IRIS.replace(",", "\t"), "species"),
        (IRIS.replace("\n", "\r\n\r\n"), "species"),
        ("\ufeff" + IRIS, 2),
        (IRIS, "2"),
        (IRIS, -1),
        (IRIS.replace("setosa", '" setosa"'), None),
        (IRIS.removesuffix("\n"), None),
    ],
    ids=[
        "plain",
        "no header",
        "semicolon",
        "tab",
        "CRLF",
        "BOM",
        "index text",
        "index -1",
        "quotes",
        "no newline",
    ],
)
def test_csv(csv, text, label):
    d = data.load(csv(text), label=label)
    assert (d.name, d.classes, d.image_shape) == ("table", ("setosa", "virginica"), None)
    assert len(d.train) == 4
    assert len(d.test) == 1
    assert labelled(d) == SPECIES
    x, _ = whole(d)
    assert x.dtype == np.float64
    assert x[:, 1].tolist() == [0.5, 1.5, 2.5, 3.5, -40.0]


@pytest.mark.parametrize("name", ["label", "Target", "class", "Y"])
def test_csv_label_column_is_found_by_name(csv, name):
    d = data.load(csv(f"{name},a\n7,1\n9,2\n7,3\n9,4\n"), test_fraction=0.5)
    assert d.classes == ("7", "9")
    assert labelled(d) == {1: "7", 2: "9", 3: "7", 4: "9"}


def test_csv_byte_order_mark_is_not_part_of_a_name(csv):
    assert data.load(csv("\ufefflabel,a\n7,1\n9,2\n7,3\n9,4\n"), test_fraction=0.5).classes == ("7", "9")


def test_csv_named_column_and_all_text_columns(csv):
    assert labelled(data.load(csv("a,b\nu,1\nv,2\nu,3\n"), label="a", test_fraction=0.4)) == {
        1: "u",
        2: "v",
        3: "u",
    }


def test_csv_numeric_label_is_an_index_even_among_the_data(csv):
    d = data.load(csv("5,1,3\n6,0,4\n7,1,5\n"), label="1", test_fraction=0.4)
    assert d.classes == ("0", "1")
    assert labelled(d) == {5: "1", 6: "0", 7: "1"}


@pytest.mark.parametrize(
    ("labels", "classes"), [("0 1 10 2", ("0", "1", "2", "10")), ("1.0 2.0 1 2", ("1", "2"))]
)
def test_csv_whole_numbers_are_classes_in_numeric_order(csv, labels, classes):
    d = data.load(csv("".join(f"{i},{v}\n" for i, v in enumerate(labels.split()))), test_fraction=0.5)
    assert d.classes == classes
    assert d.train.y.dtype == np.int64


def test_csv_mixed_labels_are_text(csv):
    assert data.load(csv("1,a\n2,1\n3,a\n4,1\n")).classes == ("1", "a")


def test_csv_fractions_are_regression(csv):
    d = data.load(csv("a,y\n1,0.5\n2,7\n3,-1e3\n"), test_fraction=0.4)
    assert d.classes is None
    assert whole(d)[1].tolist() == [[0.5], [7.0], [-1000.0]]


def test_csv_many_whole_numbers_are_asked_about(csv, one_line):
    path = csv("a,price\n" + "".join(f"{i},{1000 + i}\n" for i in range(30)))
    with one_line(
        ValueError, r"column 'price' holds 30 different whole numbers in 30 samples; wanted regression=True"
    ):
        data.load(path)
    assert data.load(path, regression=True).train.y.shape == (24, 1)
    assert len(data.load(path, regression=False).classes) == 30


BAD_CSV = {
    "empty": ("", r"is empty; wanted rows of numbers with a label column$"),
    "blank": ("\n\n \n", r"is empty; wanted rows"),
    "header only": ("a,b,label\n", r"holds a header and no rows; wanted rows of numbers$"),
    "1 column": ("a\n1\n2\n", r"has 1 column; wanted at least one feature and the label$"),
    "not a number": (
        IRIS.replace("1.5", "1.x"),
        r"line 3, column 2 \('sepal'\) holds '1.x'; wanted a number$",
    ),
    "not a number, no header": ("1,2,a\n\n3,?,b\n", r"line 3, column 2 holds '\?'; wanted a number$"),
    "after the label": (
        "a,label,b\n1,u,2\n1,u,two\n",
        r"line 3, column 3 \('b'\) holds 'two'; wanted a number$",
    ),
    "empty cell": (IRIS.replace("2.5", ""), r"line 4, column 2 \('sepal'\) is empty; wanted a number$"),
    "empty label": ("a,label\n1,u\n2,\n", r"line 3, column 2 \('label'\) is empty; wanted a label$"),
    "nan": (IRIS.replace("2.5", "NaN"), r"line 4, column 2 \('sepal'\) holds nan; wanted a finite number$"),
    "inf after the label": (
        "label,b\nu,1\nu,-inf\n",
        r"line 3, column 2 \('b'\) holds -inf; wanted a finite number$",
    ),
    "cells missing": ("1,2,a\n3,b\n", r"line 2: 2 cells; wanted 3, as in the first line$"),
    "cells too many": (IRIS + "1,2,3,4\n", r"line 7: 4 cells; wanted 3, as in the first line$"),
    "nan label": ("1,1\n2,nan\n", r"label column 1 holds a NaN or infinite label at row 1"),
}


@pytest.mark.parametrize("kind", BAD_CSV)
def test_bad_csv(csv, kind, one_line):
    text, message = BAD_CSV[kind]
    with one_line(ValueError, rf"^load: .*table.csv:? {message}"):
        data.load(csv(text))


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("colour", r"has no column 'colour'; columns are petal, sepal, species$"),
        (3, r"has 3 columns; label is 3, wanted 0 to 2$"),
        ("-4", r"has 3 columns; label is -4, wanted 0 to 2$"),
    ],
)
def test_csv_unknown_label_column(csv, label, message, one_line):
    with one_line(ValueError, rf"^load: .*table.csv {message}"):
        data.load(csv(IRIS), label=label)


def test_csv_without_header_has_no_named_column(csv, one_line):
    with one_line(ValueError, r"has no column 'label'; it has no header; wanted an index, 0 to 1$"):
        data.load(csv("1,2\n3,4\n"), label="label")


def test_csv_asked_for_the_wrong_kind(csv, one_line):
    with one_line(ValueError, r"label column 'species' holds text, such as 'setosa'; wanted numbers"):
        data.load(csv(IRIS), regression=True)
    with one_line(ValueError, r"label column 1 holds fractions; wanted class labels$"):
        data.load(csv("1,0.5\n2,1\n"), regression=False)


def test_csv_that_is_no_text(csv, one_line):
    with one_line(ValueError, r"^load: .*table.csv is no readable text \(.*utf-8.*\); wanted .csv in UTF-8$"):
        data.load(csv("ä,b\n1,2\n", encoding="latin-1"))
