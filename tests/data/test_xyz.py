"""Clouds in text, as programs of all countries write them: the right numbers or a sentence."""

from __future__ import annotations

import io

import numpy as np
import pytest

from gmcn.data.clouds import parse_cloud, read_clouds
from gmcn.data.npz import read_arrays
from gmcn.errors import InputError
from tests.data.files import read

POINTS = np.round(np.random.default_rng(7).normal(size=(40, 3)), 4)


def rows(between: str = " ", end: str = "", points: np.ndarray = POINTS) -> str:
    return "".join(between.join(f"{value:.4f}" for value in point) + end + "\n" for point in points)


def points_of(text: str | bytes) -> np.ndarray:
    return parse_cloud(text.encode() if isinstance(text, str) else text, "a.xyz")


@pytest.mark.parametrize("between", [" ", "\t", "  ", ",", ", ", " , ", ";", "; ", ",\t"])
def test_separators(between):
    assert np.array_equal(points_of(rows(between)), POINTS)
    assert np.array_equal(points_of(rows(between, between + "7")), POINTS)
    assert np.array_equal(points_of(rows(between, between + "red") + "\n \n"), POINTS)
    assert np.array_equal(points_of(rows(between, between.strip() + "7 ")), POINTS) or not between.strip()


@pytest.mark.parametrize("between", [" ", "\t", ", ", ",", ";", "; ", " ,"])
def test_decimal_commas(between):
    with pytest.raises(InputError, match=r"a\.xyz.*commas stand inside"):
        points_of(rows("|").replace(".", ",").replace("|", between))


HEADERS = """X Y Z Intensity
//X Y Z R G B
// x y z
"x";"y";"z"
x,y,z
x, y, z
"x [m]","y [m]","z [m]",
X[m] Y[m] Z[m]
0,1,2
40
# by a scanner, in metres; see above
# columns: x y z
# The rows are x y z
""".splitlines()


@pytest.mark.parametrize(
    "header", [*HEADERS, "\n\nx y z", "# a\n// X Y Z", "\ufeffX Y Z", "\ufeff", "\ufeff40", "\ufeff# a"]
)
def test_a_first_line_that_is_no_point(header):
    between = next((mark for mark in (";", ",") if mark in header.partition("#")[0]), " ")
    assert np.array_equal(points_of(header + "\n" + rows(between)), POINTS)
    assert np.array_equal(points_of((header + "\n" + rows(between)).replace("\n", "\r\n")), POINTS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id x y z\n" + rows(), "a.xyz, line 1: 'id x y z' is no point, nor are x, y and z its first columns; remove"),
        (",x,y,z\n" + rows(","), "a.xyz, line 1: the first column is empty; remove the first column"),
        ('"","x","y","z"\n' + rows(","), "a.xyz, line 1: the first column is empty; remove the first column"),
        (
            "\tx\ty\tz\n" + rows("\t", "\t7"),
            "a.xyz: its rows have 4 columns, and names stand above 3; remove a first col",
        ),
        ("     x    y    z\n" + rows("  ", "  7"), "a.xyz: its rows have 4 columns"),
        ('"x" "y" "z"\n' + rows(" ", ' "7"'), "a.xyz: its rows have 4 columns"),
        ("   0  1  2\n" + rows(" ", " 7"), "a.xyz: its rows have 4 columns"),
        ("# timestamp x y z\n" + rows(" ", " 7"), "a.xyz, line 1: '# timestamp x y z' is no point, nor are x, y and"),
        ("# mine\n# columns: r,g,b,x,y,z\n" + rows(",", ",7,8,9"), "a.xyz, line 2: .* nor are x, y and z its first"),
        ("\n//R G B X Y Z\n" + rows(), "a.xyz, line 2: '//R G B X Y Z' is no point"),
        ("y x z\n" + rows(), "a.xyz, line 1: 'y x z' is no point"),
        ("41\n" + rows(), "a.xyz says that 41 points follow, but there are 40"),
        ("x y z\nm m m\n" + rows(), "a.xyz, line 2: a point needs three numbers, not 'm m m'"),
        (rows() + "1.0 2.0\n", "a.xyz, line 41: a point needs three numbers, not '1.0 2.0'"),
        (rows(",") + "1.0,,2.0\n", "a.xyz, line 41: a point needs three numbers, not '1.0,,2.0'$"),
        (rows(",") + "1,2,abc\n", "a.xyz, line 41: a point needs three numbers, not '1,2,abc'$"),
        (rows("; ") + "0,5; 1,5; 2,5\n", "line 41: .*not '0,5; 1,5; 2,5'; its commas stand inside the numbers"),
        (rows() + "1.0 2,5 3.0\n", "a.xyz, line 1: a point needs three numbers|commas stand inside"),
        (rows().encode("utf-16"), "a.xyz is text in UTF-16"),
    ],
)
def test_a_line_to_remove(text, message):
    with pytest.raises(InputError, match=message):
        points_of(text)


def saved(array: np.ndarray) -> bytes:
    target = io.BytesIO()
    np.save(target, array)
    return target.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.npy", saved(POINTS.T)),
        ("a.npy", saved(np.asfortranarray(POINTS.T).astype(np.float32))),
        ("a.npy", saved(np.concatenate([POINTS.T, POINTS.T]))),
        ("a.txt", rows(points=POINTS.T).encode()),
        ("a.txt", rows(",", points=POINTS.T).encode()),
    ],
)
@pytest.mark.parametrize("repeat", [False, True])
def test_transposed_clouds(tmp_path, name, content, repeat):
    folder = tmp_path / "cup" / "train"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name} holds [36] rows of 40 numbers, which looks transposed; save it"):
        read(read_clouds({"points": 16, "repeat_points": repeat}, [tmp_path]))


def test_transposed_clouds_of_archives(tmp_path):
    clouds = np.stack([POINTS.T] * 4).astype(np.float32)
    np.savez(tmp_path / "a.npz", points=clouds, label=np.zeros(4, int), is_train=np.ones(4, bool),
             name=np.array(list("abcd")), class_names=np.array(["a"]))  # fmt: skip
    with pytest.raises(InputError, match="looks transposed"):
        read_clouds({}, [tmp_path / "a.npz"])
    np.save(tmp_path / "a.npy", clouds)
    np.save(tmp_path / "b.npy", POINTS[:, :2].T)
    for name in ("a.npz", "a.npy", "b.npy"):
        with pytest.raises(InputError, match="looks transposed"):
            read_arrays(tmp_path / name)


def test_small_clouds_are_not_called_transposed():
    for array in (POINTS[:3], POINTS[:1], np.zeros((3, 9)), np.zeros((10, 12))):
        assert np.array_equal(parse_cloud(saved(array), "a.npy"), array[:, :3])
