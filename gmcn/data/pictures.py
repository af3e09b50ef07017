"""Grey images: .png, .pgm and arrays in .npy."""

from __future__ import annotations

import io
from pathlib import PurePosixPath

import numpy as np

from gmcn.data.npz import parse_npy
from gmcn.errors import InputError, brief

IMAGES = (".png", ".pgm", ".npy")
# A picture that unpacks to more was made to fill a memory.
MAX_PIXELS = 1 << 26


def parse_image(content: bytes, source: str) -> np.ndarray:  # [H, W] float32
    """The brightness of a file's content; the name's end says the format.

    Arrays keep their units. Pictures have 0 to 255, or with more than 8 bits 0 to 65,535, whatever their file's largest
    value.

    Raises :class:`InputError` for a damaged file, for colours, for transparency and for an array that is no image.
    """
    read = parse_npy if PurePosixPath(source).suffix.lower() == ".npy" else _picture
    image = read(content, source)
    if image.ndim != 2 or 0 in image.shape or image.dtype.kind not in "biuf":
        raise InputError(f"{source} holds {image.dtype} {list(image.shape)}; an image is numbers [rows, columns]")
    with np.errstate(over="ignore"):  # the fit checks for values that are not finite
        return image.astype(np.float32)


def scale(image: np.ndarray, height: int, width: int) -> np.ndarray:  # [H, W] float32 -> [height, width]
    """The image in another size, each pixel a weighted mean (a tent as wide as the larger of old and new pixels)."""
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)).copy()


def bright_border(image: np.ndarray) -> bool:  # [H, W]
    """True if most of the border, a tenth of the sides wide, is brighter than the middle, as with ink on paper."""
    rows, columns = (max(1, side // 10) for side in image.shape)
    border = np.ones(image.shape, dtype=bool)
    border[rows:-rows, columns:-columns] = False
    return not border.all() and bool(np.median(image[border]) > image[~border].mean(dtype=np.float64))


def _picture(content: bytes, source: str) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "PPM")) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise InputError(f"{source} has {width} x {height} pixels, more than {MAX_PIXELS:,}; scale it down")
            if picture.mode in ("1", "L") or picture.mode.startswith(("I", "F")):
                values = np.asarray(picture.convert("L") if picture.mode == "1" else picture)[..., None]
                clear = (values == picture.info.get("transparency", -1)).any()
            else:
                whole = picture.convert("RGBA")
                values, clear = np.asarray(whole)[..., :3], whole.getchannel("A").getextrema()[0] < 255
    except UnidentifiedImageError:
        raise InputError(f"{source} is no readable image: neither PNG nor PGM") from None
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what its readers raise
        raise InputError(f"{source} is no readable image ({brief(error)})") from error
    if clear:
        raise InputError(f"{source} is transparent in places; put it on a black background")
    if (values[..., 1:] != values[..., :1]).any():
        raise InputError(f"{source} has colours, but images are grey here; convert it")
    return values[..., 0]
