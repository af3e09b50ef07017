"""The output of the commands `predict`, `generate`, `complete`, `register` and `export`."""

from __future__ import annotations

import argparse
import logging

from gmcn import tasks
from gmcn.errors import InputError
from gmcn.inference import completing, listing, registering, writing
from gmcn.inference.exporting import export
from gmcn.inference.files import check_format
from gmcn.inference.generating import generate
from gmcn.inference.predicting import predict
from gmcn.registration import LOW

_LOG = logging.getLogger(__name__)


def predict_files(options: argparse.Namespace) -> None:
    """Answer about what can be read; in the end an :class:`InputError` if anything could not."""
    if options.output:
        check_format(options.output, listing.FORMATS)
    refused: list[str] = []

    def refuse(error: InputError) -> None:
        refused.append(str(error))
        _LOG.warning("%s", error)

    names = ("seed", "resize", "invert", "drop_not_finite", "inliers", "maps", "votes", "device")
    chosen = {name: getattr(options, name) for name in names}
    found = predict(options.model, options.files, **chosen, refuse=refuse)
    if found:
        print(listing.table(found, options.top))
    if options.output:
        listing.write(options.output, found, model=options.model, refused=refused)
    if refused:
        raise InputError(f"{len(refused)} of the inputs could not be used, for the reasons above")


def generate_objects(options: argparse.Namespace) -> None:
    """Draw, write, and say what."""
    writing.check_output(options.output)
    names = ("count", "seed", "keep", "top", "divisor", "sharpen", "level", "points", "flatten")
    names += ("model_seed", "resize", "invert", "drop_not_finite", "device")
    chosen = {name: getattr(options, name) for name in names}
    chosen |= {"like": options.like or (), "class_name": vars(options)["class"], "between": options.interpolate}
    found = generate(options.model, **chosen)
    left = {name for name, value in chosen.items() if value is None or value is False or value == ()}
    given = {name: value for name, value in chosen.items() if name not in {"device", *left}}
    writing.write(options.output, found, {"model": options.model, **given})
    print(f"{options.output}: {len(found.samples):,} samples of {options.model}")


def complete_cloud(options: argparse.Namespace) -> None:
    """Complete, write, and say what."""
    check_format(options.output, completing.FORMATS)
    names = ("points", "normalize", "drop_not_finite", "seed", "model_seed")
    chosen = {name: getattr(options, name) for name in names} | {"adapted": not options.as_decoded}
    found = completing.complete(options.model, options.partial, **chosen, device=options.device)
    about = {"model": options.model, "partial": options.partial, **chosen}
    completing.write(options.output, found, about)
    print(f"{options.output}: {options.partial} as a whole of {found.mixture.components} Gaussians")


def register_shapes(options: argparse.Namespace) -> None:
    """Register, write, and list the poses."""
    if options.output:
        check_format(options.output, registering.FORMATS)
    names = ("model", "model_seed", "axis", "within", "scale", "modes", "seed", "drop_not_finite")
    chosen = {name: getattr(options, name) for name in names}
    found = registering.register(options.source, options.target, **chosen)
    for mode, weight in enumerate(found.weights.tolist()):
        moved = ", ".join(f"{value:.4g}" for value in found.translations[mode].tolist())
        size = f", scale {found.scales[mode]:.4g}" if options.scale else ""
        turned, similarity = found.angles[mode], found.similarities[mode]
        print(
            f"mode {mode + 1}: weight {weight:.3f}, turned by {turned:.1f} degrees, moved by ({moved}){size}, "
            f"similarity {similarity:.2f}"
        )
    if found.axis is not None:
        direction = ", ".join(f"{value:.2f}" for value in found.axis.tolist())
        print(f"free to turn about ({direction}) through the source's middle: no turn about it fits better than others")
    if float(found.similarities[0]) < LOW:
        _LOG.warning(
            "the similarity is as low as that of different objects: %s and %s may have nothing in common",
            options.source,
            options.target,
        )
    for row in found.matrix.tolist():
        print("  ".join(f"{value:12.6f}" for value in row))
    if options.output:
        about = {"source": options.source, "target": options.target, **chosen}
        registering.write(options.output, options.source, options.target, found, about)
        print(f"wrote {options.output}")


def export_result(options: argparse.Namespace) -> None:
    """Export, and say what."""
    card = export(options.result, options.folder, seed=options.seed, sampling=options.sampling)
    headline = tasks.measures(card["task"]).headline
    measured = f"{headline.title} {card['metrics'][headline.name]:.4f}"
    print(f"{options.folder}: seed {card['seed']}, {measured}, {card['bytes']:,} bytes")
