"""The commands that are no stage."""

from __future__ import annotations

from gmcn.stages.command import Command
from gmcn.stages.options import DEVICE, DROP, Option, chosen

MODEL = Option("model", "result, run folder, model.safetensors, or name of a pretrained network", metavar="MODEL")
MODEL_SEED = Option("--model-seed", "the network of this seed (default: the first)", type="integer", metavar="SEED")
RESIZE = Option("--resize", "scale images to the size that the network was trained on", action="store_true")
INVERT = Option("--invert", "make dark on bright, as ink on paper, bright on dark", action="store_true")

OTHERS = {
    command.name: command
    for command in (
        Command(
            "predict",
            "ask a trained network about meshes, clouds, images or mixtures",
            options=(
                MODEL,
                Option("files", "mesh, cloud, splats, image, artifact, or folder of them", nargs="+", metavar="FILE"),
                chosen("the first"),
                RESIZE,
                INVERT,
                DROP,
                Option("--top", "show the K most probable classes (default: 2)", type="count", default=2, metavar="K"),
                Option(
                    "--inliers",
                    "densities: what is less likely than this share of the training objects is an outlier",
                    type="number",
                    metavar="SHARE",
                ),
                Option(
                    "--maps",
                    "deep mixtures: draw where images are unlikely, each (folder/) or all in one picture (.png)",
                    metavar="PATH",
                ),
                Option(
                    "--votes",
                    "answer with the mean over so many variations of each object, as the training drew them",
                    type="count",
                    metavar="V",
                ),
                Option("--output", "write all answers, as .json or .csv", metavar="FILE"),
                DEVICE,
            ),
        ),
        Command(
            "generate",
            "draw new images, vectors or clouds from a trained network",
            options=(
                MODEL,
                Option(
                    "--count",
                    "how many samples (default: 100), or variants of each object of --like (default: 1)",
                    type="count",
                    metavar="N",
                ),
                Option("--seed", "of the random numbers (default: 0)", type="integer", default=0),
                Option("--like", "draw variants of these objects", nargs="+", metavar="FILE"),
                Option("--interpolate", "clouds: draw those between two", nargs=2, metavar="FILE"),
                Option("--points", "clouds: how many points each has (default: 1024)", type="count", metavar="M"),
                Option("--flatten", "clouds: put points on surfaces", action="store_true"),
                Option(
                    "--keep",
                    "draw what is missing: left, right, top or bottom is known, or what is bright in an image",
                    metavar="MASK",
                ),
                Option("--class", "draw samples of this class", metavar="NAME"),
                Option("--top", "deep mixtures: draw among the S likeliest components", type="count", metavar="S"),
                Option("--divisor", "deep mixtures: divide standard deviations by X", type="number", metavar="X"),
                Option("--sharpen", "deep mixtures: so many steps to a larger likelihood", type="count", metavar="N"),
                Option(
                    "--level",
                    "deep mixtures: variants of what this mixture sees, 1 the closest (default: the last)",
                    type="count",
                    metavar="L",
                ),
                MODEL_SEED,
                RESIZE,
                INVERT,
                DROP,
                Option(
                    "--output",
                    "one picture (.png; of clouds also .ply, or a page .html), an array (.npy, .safetensors), or a "
                    "file for each sample (folder/)",
                    required=True,
                    metavar="PATH",
                ),
                DEVICE,
            ),
        ),
        Command(
            "complete",
            "make a whole object of a partial cloud",
            options=(
                MODEL,
                Option("partial", "a cloud that has a part of the object: .npy .obj .ply .txt .xyz", metavar="PARTIAL"),
                Option("--points", "how many points of the whole (default: 2048)", type="count", default=2048),
                Option(
                    "--as-decoded", "the mixture of the network alone, not moved to the points", action="store_true"
                ),
                Option("--normalize", "bring the cloud to where training objects are", action="store_true"),
                DROP,
                Option("--seed", "of the random numbers (default: 0)", type="integer", default=0),
                MODEL_SEED,
                Option(
                    "--output",
                    "the points (.ply, .npy), the mixture (.safetensors), or both clouds (.png, or .html to turn)",
                    required=True,
                    metavar="PATH",
                ),
                DEVICE,
            ),
        ),
        Command(
            "register",
            "find the pose of one cloud, mesh or file of splats on another",
            options=(
                Option("source", "what is moved: cloud, mesh or splats", metavar="SOURCE"),
                Option("target", "where it is moved to: cloud, mesh or splats", metavar="TARGET"),
                Option(
                    "--model",
                    "a network of the task registration, for upright clouds of its classes in its units",
                    metavar="MODEL",
                ),
                MODEL_SEED,
                Option("--axis", "only turns about this axis: x, y or z (default: all rotations)", metavar="AXIS"),
                Option(
                    "--within",
                    "turns of at most so many degrees (default: 180)",
                    type="number",
                    default=180.0,
                    metavar="DEGREES",
                ),
                Option("--scale", "the sizes may differ", action="store_true"),
                DROP,
                Option("--modes", "at most so many poses (default: 16)", type="count", default=16, metavar="N"),
                Option("--seed", "of the mixtures' first centres (default: 0)", type="integer", default=0),
                Option(
                    "--output",
                    "all poses (.json), the source's points moved (.ply, .npy), or before and after (.png, or .html to "
                    "turn)",
                    metavar="PATH",
                ),
            ),
        ),
        Command(
            "export",
            "make a pretrained network of a result",
            options=(
                Option("result", "a finished result, results/<data set>_<variant>.json", metavar="RESULT"),
                Option("folder", "where to write: pretrained/<name>", metavar="FOLDER"),
                chosen("the best on the validation split"),
                Option("--sampling", "how its clouds were drawn from meshes: uniform or poisson", metavar="HOW"),
            ),
        ),
        Command(
            "show",
            "look at a cloud, a mesh, an image or a mixture",
            options=(
                Option("file", "mesh, cloud, splats, image, or artifact of points or mixtures", metavar="FILE"),
                Option(
                    "--index",
                    "which of the file's objects, counted from 0 (default: the first)",
                    type="integer",
                    either="object",
                ),
                Option("--name", "which of the file's objects, by its name", either="object"),
                Option(
                    "--points",
                    "what the mixtures were fitted to (default: looked for beside them)",
                    metavar="FILE",
                ),
                DROP,
                Option("--up", "axis that points upwards in 3D (default: z)", choices=("x", "y", "z"), default="z"),
                Option("--output", "write .html, .png or .svg (default: a temporary page, opened)", metavar="PATH"),
            ),
        ),
        Command("names", "list the data sets, fits and variants of the configuration, and pretrained networks"),
        Command(
            "status",
            "show what of a target exists, runs and is missing",
            options=(
                Option(
                    "targets",
                    "as for snakemake (default: the configuration's targets)",
                    nargs="*",
                    metavar="TARGET",
                ),
                Option("--json", "print everything that is known, for other programs", action="store_true"),
            ),
        ),
        Command("info", "show versions, compiled kernels and devices"),
        Command("store", "create the MLflow store and send what could not be logged (each workflow does so first)"),
    )
}
