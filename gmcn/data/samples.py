"""Labelled shapes, returned by every reader; each is loaded when somebody asks for it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gmcn.data.kinds import Clouds
from gmcn.errors import InputError, brief, unknown

TRAIN, TEST = 0, 1
PARTS = ("train", "test")
DROP = "`drop_not_finite: true`"  # the key of clouds and splats
OPTION = "(of `show`, `predict`, `generate`, `complete` and `register`: --drop-not-finite)"

# One shape's tensors by name: points [M, 3]; or images [H, W] uint8; or vectors [d]; or weights [N], positions [N, 3]
# and covariances [N, 3, 3]. Points are float32, or float64 where their file is that precise: they are cast when they
# are stored. With DROPPED, how many of a file's rows were left out since they are not finite, which is no tensor of the
# shape.
Row = dict[str, np.ndarray]
DROPPED = "dropped"


@dataclass
class Samples:
    """S labelled shapes: ``load`` turns each of what ``items`` gives into its tensors.

    With ``members``, one for each shape, ``items`` takes those that are wanted, so that nothing of the others is read.
    An item, or what ``load`` raises, may be an :class:`InputError`: an object that cannot be used. Where loading is
    ``costly`` it can be done in other processes; ``load`` is then a function (or partial) that these can import.
    """

    labels: np.ndarray  # [S] int64, index into class_names
    split: np.ndarray  # [S] uint8, 0 train, 1 test
    names: list[str]  # S
    class_names: list[str]
    items: Callable[..., Iterable[Any]]  # gives S items in the same order
    load: Callable[[Any], Row]
    members: Sequence[Any] | None = None
    costly: bool = False
    left_out: Sequence[str] = ()  # files that are no objects only because of where they lie
    about: Mapping[str, Any] = field(default_factory=dict)  # further metadata of the artifact

    def __iter__(self) -> Iterator[Row | InputError]:
        """The shapes in order, each as its tensors or as a sentence about its fault."""
        return (attempt(self.load, item) for item in self.read())

    def read(self) -> Iterable[Any]:
        """The items, in order."""
        return self.items() if self.members is None else self.items(self.members)

    def with_printable_names(self) -> Samples:
        """Bytes in the names of objects and classes that are no text are written as text, which can be drawn."""
        names, class_names = (
            [str(name).encode(errors="backslashreplace").decode() for name in each]
            for each in (self.names, self.class_names)
        )
        return replace(self, names=names, class_names=class_names)

    def of_classes(self, places: Sequence[int]) -> Samples:
        """The shapes of the classes at ``places`` alone; their labels are places in ``places``."""
        chosen = np.isin(self.labels, places)
        return replace(
            self,
            labels=np.searchsorted(places, self.labels[chosen]),
            split=self.split[chosen],
            names=list(itertools.compress(self.names, chosen)),
            class_names=[self.class_names[place] for place in places],
            members=None if self.members is None else list(itertools.compress(self.members, chosen)),
            items=self.items if self.members is not None else lambda: itertools.compress(self.items(), chosen),
        )

    def check(self, source: str) -> None:
        """:class:`InputError` for a label without a class, and for two classes of one name."""
        names = Counter(self.class_names)
        if twice := [name for name in names if names[name] > 1]:
            raise InputError(
                f"{names[twice[0]]} classes are called '{brief(twice[0])}' ({source}); give each a name of its own"
            )
        outside = (self.labels < 0) | (self.labels >= len(self.class_names))
        if outside.any():
            shape = int(outside.argmax())
            raise InputError(
                f"'{brief(self.names[shape])}' ({source}, row {shape}) has label {self.labels[shape]}, but there are "
                f"{len(self.class_names)} classes; check the labels or class_names"
            )


def places_of(
    classes: Sequence[int | str] | None, class_names: Sequence[str], where: str = "training.classes"
) -> list[int]:
    """Places of classes that are given by place, counted from 0, or by name, in order; of all where it is None.

    Raises :class:`InputError` for one that is not there; ``where`` begins its sentence.
    """
    if classes is None:
        return list(range(len(class_names)))
    places = {name: place for place, name in enumerate(class_names)} | {n: n for n in range(len(class_names))}
    for one in classes:
        if one not in places:
            raise InputError(f"{where}: {unknown('class', str(one), class_names)}")
    return sorted({places[one] for one in classes})


def attempt(load: Callable[[Any], Row], item: Any) -> Row | InputError:
    """The shape of an item, or the error that says why there is none."""
    if isinstance(item, InputError):
        return item
    try:
        return load(item)
    except InputError as error:
        return error
    except ModuleNotFoundError:  # of a package, which is no fault of the object
        raise
    except Exception as error:  # the reader should have raised a sentence, but one object must not end them all
        return InputError(f"it cannot be read ({type(error).__name__}: {brief(error)})")


def as_image(item: np.ndarray) -> Row:
    """``load`` for items that are images already."""
    return {"images": item}


def fault_of(row: Row, size: tuple[int, int] | None = None) -> str | None:
    """The fault in the values of a shape, or None; an image must have the ``size`` [H, W], where one is given."""
    for name, values in row.items():
        finite = np.isfinite(stored(values))
        if not finite.all():
            return f"a value of its {name} is not finite, in row {np.argwhere(~finite)[0, 0]}"
    if "images" in row and size not in (None, row["images"].shape):
        (height, width), (rows, columns) = row["images"].shape, size
        return f"it has {width} x {height} pixels, and the first image {columns} x {rows}; crop or scale it"
    if "images" in row and not row["images"].any():
        return "it is all black"
    if "weights" in row and not row["weights"].any():
        return "all its weights are 0"
    return None


def stored(values: np.ndarray) -> np.ndarray:
    """The values as an artifact holds them: float64 becomes float32, and values too large for it become infinite."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32) if values.dtype == np.float64 else values


def check_finite(coordinates: np.ndarray, source: str, what: str, advice: str = "") -> None:  # [M, 3] float64
    """:class:`InputError` that names the first ``what`` (point, vertex) whose coordinates float32 cannot hold."""
    bad = ~np.isfinite(stored(coordinates)).all(-1)
    if bad.any():
        row = int(bad.argmax())
        values = coordinates[row].tolist()
        raise InputError(f"{source}: a coordinate of {what} {row} is not finite or far too large ({values}){advice}")


def finite_rows(values: np.ndarray, source: str, what: str, *, drop: bool) -> np.ndarray:  # [M, C] -> [at most M, C]
    """The rows without NaN and infinity, as depth cameras write where they saw nothing; all, if ``drop`` is false.

    Raises :class:`InputError` at the first row that is not finite without ``drop``, or that float32 cannot hold.
    """
    if drop:
        values = values[np.isfinite(values).all(-1)]
    advice = "" if drop or np.isfinite(values).all() else f"; {DROP} leaves such {what}s out {OPTION}"
    check_finite(values, source, what, advice)
    return values


def resize(
    points: np.ndarray,  # [M, 3]
    count: int,
    rng: np.random.Generator | None,
    *,
    repeat: bool = False,
    source: str = "the cloud",
) -> np.ndarray:  # [count, 3]
    """Exactly ``count`` points: a random choice without replacement in the file's order, or the first without ``rng``.

    Raises :class:`InputError` for a smaller cloud, unless ``repeat``: then every point comes as often as any other,
    but for one.
    """
    size = len(points)
    if size < count:
        if not size:
            raise InputError(f"{source} has no points; remove it")
        if not repeat:
            raise InputError(
                f"{source} has {size} points, fewer than {count}; ask for fewer, or set repeat_points: true"
            )
        points = np.tile(points, (-(-count // size), 1))
        # The last round is a choice among all points, and the rounds before it are whole.
        whole = count // size * size
        rest = resize(points[:size], count - whole, rng)
        return np.concatenate([points[:whole], rest])
    if rng is None or size == count:
        return points[:count]
    return points[np.sort(rng.choice(size, count, replace=False))]


def cloud_row(
    everything: np.ndarray,  # [M, 3]
    own: Clouds,
    count: int,
    rng: np.random.Generator | None,
    source: str = "the cloud",
) -> Row:
    """``count`` of a cloud's points, see :func:`finite_rows` and :func:`resize`, by a data set's settings."""
    points = finite_rows(everything, source, "point", drop=own.drop_not_finite)
    chosen = resize(points, count, rng, repeat=own.repeat_points, source=source)
    return {"points": chosen, DROPPED: np.array(len(everything) - len(points))}


def normalize(points: np.ndarray) -> np.ndarray:
    """A cloud with its bounding box centred on the origin, then scaled into the unit sphere.

    points [..., M, 3], any units -> [..., M, 3] float32. A cloud whose points are all equal is centred only.
    """
    centre, radius = frame(points)
    return ((points - centre) / radius).astype(np.float32)


def frame(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middle of the bounding box [..., 1, 3] and largest distance from it [..., 1, 1] of points [..., M, 3], float64.

    The distance is one where all points are equal.
    """
    wide = points.astype(np.float64)
    centre = (wide.min(axis=-2, keepdims=True) + wide.max(axis=-2, keepdims=True)) / 2
    radius = np.linalg.norm(wide - centre, axis=-1).max(axis=-1)[..., None, None]
    return centre, np.where(radius > 0, radius, 1)
