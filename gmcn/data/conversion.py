"""Formats that people have their objects in and that are not read: what to do instead."""

from __future__ import annotations

from pathlib import PurePosixPath

# Splats whose numbers are quantised and compressed.
PACKED = (".spz", ".splat", ".ksplat", ".sog")
UNPACK = "write it as .ply that is not compressed, with SuperSplat or splat-transform"
_WAYS = {
    PACKED: UNPACK,
    (".bmp", ".gif", ".jpeg", ".jpg", ".tif", ".tiff", ".webp"): "save it as a grey .png",
    (".e57", ".las", ".laz", ".pcd", ".pts"): "write it as .ply or .xyz, with CloudCompare",
    (".3ds", ".blend", ".dae", ".fbx", ".glb", ".gltf", ".step", ".stp"): "write it as .obj or .ply, with Blender",
}


def hint(name: str) -> str:
    """How to convert a file of another format, as the end of a sentence; empty if we know no way."""
    suffix = PurePosixPath(name).suffix.lower()
    return next((f"; {way}" for suffixes, way in _WAYS.items() if suffix in suffixes), "")
