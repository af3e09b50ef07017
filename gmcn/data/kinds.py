"""What data sets can be told in the configuration. :data:`gmcn.data.sampling.KINDS` has their kinds and readers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from gmcn.declared import (
    DISTINCT,
    FILLED,
    OPTIONAL,
    WRITTEN,
    Seed,
    above,
    at_least,
    at_most,
    below,
    matching,
    one_of,
    options,
)

T = TypeVar("T")
COUNT = 1024  # points of a shape that is sampled

Description = Annotated[
    str, WRITTEN, "What it is, for people: `gmcn names` shows it. A change makes nothing run again."
]
Sha256 = Annotated[str, matching("^[0-9a-f]{64}$"), "An accepted SHA-256."]
Points = Annotated[int, at_least(8), at_most(1_000_000), "Points sampled on each mesh."]
PerClass = Annotated[int, at_least(1)]
Normalize = Annotated[bool, "Centre each shape and scale it into the unit sphere."]
Sampling = Annotated[
    Literal["uniform", "poisson"],
    "How points are drawn on a surface: uniformly by area, or evenly spread (Poisson disk).",
]
BadObjects = Annotated[
    Literal["stop", "skip"],
    "What becomes of objects that cannot be used (malformed, without surface, not finite, all black): stop and name "
    "them, or skip them, each named in the log and in the artifact.",
]
DropNotFinite = Annotated[
    bool,
    "Whether points or splats with a value that is not finite (NaN, as depth cameras write where they saw nothing) are "
    "left out and counted; without it such an object is a bad object.",
]
Parts = Annotated[
    list[Annotated[Literal["train", "test"], "A part of the split."]],
    FILLED,
    DISTINCT,
    "Parts of the split that must have objects, by default both; a set with one of them can be fitted and looked at, "
    "but not trained on.",
]
Path = Annotated[
    str,
    WRITTEN,
    "The user's own folder (or zip), absolute or relative to the working directory, instead of published files. "
    "Objects lie in it as <class>/<train or test>/<name>.<ext>.",
]


@dataclass(frozen=True)
class File:
    """One published file."""

    name: Annotated[str, matching("^[A-Za-z0-9][A-Za-z0-9._-]*$"), "File name, without a folder."]
    url: Annotated[str | None, "Published address; null where only a mirror has it."]
    folder: Annotated[
        str,
        matching("^[A-Za-z0-9][A-Za-z0-9._/-]*$"),
        "Folder of the mirror that holds the file, where that is not called as the data set.",
    ] = OPTIONAL
    sha256: Annotated[
        Sha256 | list[Sha256] | None,
        "SHA-256 of the file, or a list of accepted ones; null where none was ever published.",
    ] = None
    md5: Annotated[
        str, matching("^[0-9a-f]{32}$"), "MD5 of the file, as CIFAR's authors publish it instead of a SHA-256."
    ] = OPTIONAL
    content_md5: Annotated[
        str, matching("^[0-9a-f]{32}$"), "MD5 of the uncompressed content, as MNIST's authors publish it."
    ] = OPTIONAL


Files = Annotated[list[File], FILLED, "Published files; each is first looked for as $GMCN_MIRROR/<folder>/<name>."]


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """The settings of data sets of every kind."""

    description: Description = OPTIONAL
    classes: Annotated[
        list[Annotated[int | str, at_least(0), "A class."]],
        FILLED,
        DISTINCT,
        "The classes, by name or place (from 0), whose objects alone are sampled; by default all.",
    ] = OPTIONAL


@dataclass(frozen=True, kw_only=True)
class Digits(DataSet):
    """scikit-learn's 1,797 scanned digits, 8 x 8 pixels; needs no network."""

    test_fraction: Annotated[float, above(0), below(1), "Share of every class that is held out for testing."] = 0.25
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class Solids(DataSet):
    """Ten parametric classes of meshes that the project generates; needs no network."""

    train_per_class: Annotated[PerClass, "Training shapes per class."] = 80
    test_per_class: Annotated[PerClass, "Test shapes per class."] = 20
    points: Points = COUNT
    sampling: Sampling = "uniform"
    normalize: Normalize = False
    seed: Seed = 1


@dataclass(frozen=True, kw_only=True)
class Images(DataSet):
    """Grey images: training and test images and labels in the IDX format of MNIST, or a zip or folder of .png, .pgm
    or .npy files of one size, laid out as <class>/<train or test>/<name>.<ext>.
    """

    RULES: ClassVar = one_of("files", "path")

    files: Files = OPTIONAL
    path: Path = OPTIONAL
    class_names: Annotated[
        list[Annotated[str, "A class's name."]],
        "Names of the classes, in the order of their labels; with `path` of the folders (default: by alphabet).",
    ] = OPTIONAL
    bad_objects: BadObjects = "stop"
    parts: Parts = OPTIONAL


@dataclass(frozen=True, kw_only=True)
class Cifar(DataSet):
    """Coloured pictures of CIFAR-10 or CIFAR-100, the binary version in one .tar.gz; each is a vector of its values."""

    files: Files
    labels: Annotated[
        Literal["fine", "coarse"], "CIFAR-100: the 100 classes, or the 20 which each hold five of them."
    ] = "fine"


@dataclass(frozen=True, kw_only=True)
class Clouds(DataSet):
    """Point clouds: one .npz with the arrays points, label, is_train, name and class_names; Qi et al.'s archive of
    resampled ModelNet (split_lists); or a zip or folder of .npy, .npz, .obj, .ply, .txt or .xyz files.
    """

    RULES: ClassVar = one_of("files", "path")

    files: Files = OPTIONAL
    path: Path = OPTIONAL
    split_lists: Annotated[
        str,
        WRITTEN,
        "Prefix of the lists in Qi et al.'s archive: <prefix>_train.txt, <prefix>_test.txt and "
        "<prefix>_shape_names.txt. Without it objects are found by their folders.",
    ] = OPTIONAL
    points: Annotated[
        Points,
        "Points per cloud: the first ones of an .npz (default: all) or of Qi et al.'s files, else a random choice "
        f"without replacement (default: {COUNT:,}).",
    ] = OPTIONAL
    repeat_points: Annotated[
        bool, "Whether a cloud of fewer points has them repeated; without it such a cloud is a bad object."
    ] = False
    drop_not_finite: DropNotFinite = False
    normalize: Normalize = False
    seed: Seed = 1
    bad_objects: BadObjects = "stop"
    parts: Parts = OPTIONAL


@dataclass(frozen=True, kw_only=True)
class Meshes(DataSet):
    """A zip or folder of meshes laid out as <class>/<train or test>/<name>.<ext>: .off, .obj, .ply or .stl."""

    RULES: ClassVar = one_of("files", "path")

    files: Files = OPTIONAL
    path: Path = OPTIONAL
    points: Points = COUNT
    sampling: Sampling = "uniform"
    normalize: Normalize = False
    seed: Seed = 1
    bad_objects: BadObjects = "stop"
    parts: Parts = OPTIONAL


@dataclass(frozen=True, kw_only=True)
class Splats(DataSet):
    """3D Gaussian splatting's .ply files, which are mixtures already: a folder or zip of them, or published files.
    Where they do not lie in <class>/<train or test>/ all are training objects of one class.
    """

    RULES: ClassVar = one_of("files", "path")

    files: Files = OPTIONAL
    path: Path = OPTIONAL
    normalize: Annotated[
        bool, "Bring the centres of each shape into the unit sphere and the sum of its weights to one."
    ] = False
    drop_not_finite: DropNotFinite = False
    bad_objects: BadObjects = "stop"
    parts: Parts = OPTIONAL


def told(kind: type[T], settings: Mapping[str, Any]) -> T:
    """The settings of a data set that its kind declares, with defaults for the others."""
    return kind(**{key: settings[key] for key in options(kind) if key in settings})
