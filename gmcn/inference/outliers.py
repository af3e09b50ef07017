"""Which objects are outliers of a density, and where in an image: by what its file says of the training objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmcn.data.pictures import MAX_PIXELS
from gmcn.errors import InputError, foreign
from gmcn.inference.files import is_folder, plain_name
from gmcn.models import Density, Network
from gmcn.pictures.charts import save_png

FLOOR = 1e-3  # nats: of a position where all training images are alike, such as a black border
FAR = 5.0  # standard deviations that are shown brightest
PANEL = 196  # pixels, or fewer
TITLE = 16  # pixels above a panel


def threshold(network: Network, metadata: Mapping[str, Any], inliers: float, path: Path) -> float:
    """The typicality, mostly the log-likelihood, that this share of the training objects reaches.

    Raises :class:`InputError` for a share that is none, and for a file that does not say how likely these were.
    """
    if not 0 < inliers < 1:
        raise InputError(f"the share of inliers is {inliers}, but must be between 0 and 1")
    with foreign(f"{path} does not say well how likely its training objects were"):
        quantiles = (metadata.get("trained") or {}).get("quantiles")
        if not isinstance(network, Density) or not quantiles:
            raise InputError(f"{path} does not say how likely its training objects were: only a density has outliers")
        return float(np.interp(1 - inliers, np.linspace(0, 1, len(quantiles)), quantiles))


def deviations(
    network: Network,
    inputs: Tensor,  # [B, H, W]
    metadata: Mapping[str, Any],
    path: Path,
) -> dict[str, Tensor]:  # [B, H', W'] each
    """By the name of each layer with several positions: how far the log-likelihood there lies below the mean over the
    training objects, in their standard deviations at this position.
    """
    found = network.layers(inputs) if isinstance(network, Density) else []
    if all(layer["log_likelihood"][0].numel() == 1 for layer in found):
        raise InputError(f"{path} is no density with several positions in an image, such as `kind: dcgmm`: no maps")
    maps = {}
    with foreign(f"{path} does not say well how likely parts of its training images were"):
        known = (metadata.get("trained") or {}).get("layers")
        if not known:
            raise InputError(f"{path} does not say how likely parts of its training images were; train it again")
        for layer, about in zip(found, known, strict=True):
            values = layer["log_likelihood"].double().cpu()
            mean, std = (torch.tensor(about[key], dtype=torch.float64) for key in ("mean", "std"))
            if values[0].numel() > 1:
                maps[layer["name"]] = (mean - values) / std.clamp(min=FLOOR)
    return maps


class Maps:
    """Draws images with their maps: each into a .png of its own in a folder, or all below each other in one .png.

    Beside an image there is one map for each layer, over the image: black where it is as likely as training images
    are in the mean, or more, white where it lies five standard deviations below.
    """

    def __init__(self, output: str, network: Network, metadata: Mapping[str, Any], path: Path) -> None:
        if not is_folder(output) and Path(output).suffix.lower() != ".png":
            raise InputError(f"cannot draw {output}: its name must end in .png, or in / for a folder of pictures")
        self._output, self._network, self._metadata, self._path = output, network, metadata, path
        self._rows: list[np.ndarray] = []
        self._count = 0

    def add(
        self,
        names: Sequence[str],
        inputs: Tensor,  # [B, H, W]
    ) -> None:
        """Some images more, with their names."""
        maps = deviations(self._network, inputs, self._metadata, self._path)
        for index, name in enumerate(names):
            picture = _picture(
                inputs[index].cpu().numpy(), {key: values[index].numpy() for key, values in maps.items()}
            )
            self._count += 1
            if is_folder(self._output):
                save_png(picture, Path(self._output) / f"{self._count:04d}_{plain_name(name)}.png")
                continue
            self._rows.append(picture)
            if picture.size // 3 * len(self._rows) > MAX_PIXELS:
                raise InputError(f"{self._count} images are too many for one picture; name a folder, with / at its end")

    def finish(self) -> None:
        """Write what is not yet written."""
        if self._rows:
            save_png(np.concatenate(self._rows), Path(self._output))


def _picture(image: np.ndarray, maps: Mapping[str, np.ndarray]) -> np.ndarray:  # [H, W], [H', W'] each
    """An image and its maps beside each other, with titles: [rows, columns, 3] uint8."""
    from matplotlib import colormaps
    from PIL import Image, ImageDraw

    side = max(1, PANEL // max(image.shape))
    height, width = (length * side for length in image.shape)
    low, high = min(0.0, float(image.min())), float(image.max())
    grey = (image - low) / ((high - low) or 1.0)
    panels = {"": colormaps["gray"](_spread(grey, height, width))}
    for name, values in maps.items():
        shares = np.nan_to_num(values / FAR, nan=1.0).clip(0, 1)
        panels[f"{name}, 0 to {FAR:g} std below"] = colormaps["inferno"](_spread(shares, height, width))
    framed = [np.pad(one[..., :3], ((TITLE, 2), (0, 2), (0, 0)), constant_values=1.0) for one in panels.values()]
    picture = Image.fromarray((np.concatenate(framed, 1) * 255).round().astype(np.uint8))
    for place, title in enumerate(panels):
        ImageDraw.Draw(picture).text((place * (width + 2) + 2, 2), title, fill=(0, 0, 0))
    return np.asarray(picture)


def _spread(values: np.ndarray, height: int, width: int) -> np.ndarray:  # [H, W] -> [height, width]
    """Each pixel has the value of the cell that it lies in."""
    rows, columns = (np.arange(size) * cells // size for size, cells in zip((height, width), values.shape, strict=True))
    return values[rows][:, columns]
