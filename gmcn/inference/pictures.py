"""Grey images: .png, .pgm and arrays in .npy."""

from __future__ import annotations

import io
from pathlib import PurePosixPath

import numpy as np

from gmcn.errors import InputError


def parse_image(content: bytes, source: str) -> np.ndarray:  # [H, W] float32
    """The brightness of a file's content; the name's end says the format. Units are the file's own.

    Raises :class:`InputError` for a damaged file, for colours and for an array that is no image.
    """
    read = _array if PurePosixPath(source).suffix.lower() == ".npy" else _picture
    image = read(content, source)
    if image.ndim != 2 or 0 in image.shape or image.dtype.kind not in "biuf":
        raise InputError(f"{source} holds {image.dtype} {list(image.shape)}; an image is numbers [rows, columns]")
    return image.astype(np.float32)


def scale(image: np.ndarray, height: int, width: int) -> np.ndarray:  # [H, W] float32 -> [height, width]
    """The image in another size, each pixel a weighted mean (a tent as wide as the larger of old and new pixels)."""
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)).copy()


def _array(content: bytes, source: str) -> np.ndarray:
    try:
        return np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{source} is no readable array ({' '.join(str(error).split())})") from error


def _picture(content: bytes, source: str) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "PPM")) as picture:
            if picture.mode in ("1", "L") or picture.mode.startswith(("I", "F")):
                return np.asarray(picture)
            colours = np.asarray(picture.convert("RGB"))
    except UnidentifiedImageError:
        raise InputError(f"{source} is no readable image: neither PNG nor PGM") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what its readers raise
        raise InputError(f"{source} is no readable image ({error})") from error
    if (colours != colours[..., :1]).any():
        raise InputError(f"{source} has colours, but the network was trained on grey images; convert it")
    return colours[..., 0]
