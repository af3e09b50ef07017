"""Fewer Gaussians for a 3D Gaussian splatting scene: read a .ply, reduce it with TreeHEM, measure, draw and write it.

    python examples/splats.py                                    # on a scene that it generates
    python examples/splats.py point_cloud.ply --components 5000 --output results/scene

Colours are left out: a mixture is a function in space, whose values are the splats' opacities added up.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from gmcn import Mixture, ops
from gmcn.data.splats import PROPERTIES, parse_splats
from gmcn.fitting import reduce_mixtures
from gmcn.pictures.show import show


def read(path: Path) -> Mixture:  # [1, N]
    """The splats of a file as a mixture."""
    splats = parse_splats(path.read_bytes(), str(path))
    return Mixture(*(torch.as_tensor(splats[name])[None].float() for name in Mixture._fields))


def write(path: Path, mixture: Mixture) -> None:  # [1, N]
    """Write the .ply that viewers of splats read: logits of opacities, logarithms of scales, quaternions."""
    weights, positions, covariances = (tensor[mixture.weights > 0].double().numpy() for tensor in mixture)
    variances, axes = np.linalg.eigh(covariances)
    axes *= np.sign(np.linalg.det(axes))[:, None, None]  # rotations, no reflections
    opacity = weights / np.sqrt((2 * np.pi * variances).prod(-1))  # a Gaussian's height; its weight is the integral
    if opaque := (opacity > 1).sum():
        print(f"{opaque:,} Gaussians, merged of splats that overlap, are higher than 1: {path} cuts them off there")
    logits = -np.log(1 / opacity.clip(1e-6, 1 - 1e-6) - 1)[:, None]
    quaternions = np.roll(Rotation.from_matrix(axes).as_quat(), 1, axis=-1)  # w first
    rows = np.concatenate([positions, logits, 0.5 * np.log(variances), quaternions], axis=-1)
    properties = "\n".join(f"property float {name}" for name in PROPERTIES)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(rows)}\n{properties}\nend_header\n"
    path.write_bytes(header.encode() + rows.astype("<f4").tobytes())


def generate(count: int = 3000, seed: int = 0) -> Mixture:  # [1, count]
    """Flat splats on a sphere."""
    generator = torch.Generator().manual_seed(seed)
    normals = torch.nn.functional.normalize(torch.randn(1, count, 3, generator=generator), dim=-1)
    across = torch.eye(3) - normals[..., :, None] * normals[..., None, :]
    covariances = 0.05**2 * across + 0.005**2 * torch.eye(3)
    return Mixture(0.5 * (2 * torch.pi * covariances).det().sqrt(), normals, covariances)  # of opacity 0.5


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description="Reduce a scene of 3D Gaussian splats to fewer Gaussians.")
    parser.add_argument("splats", nargs="?", type=Path, help=".ply of 3D Gaussian splatting (default: generated)")
    parser.add_argument("--components", type=int, default=300, help="Gaussians that remain (default: 300)")
    parser.add_argument("--output", type=Path, default=Path("results/splats"), help="where to write")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.splats or options.output / "scene.ply"
    if options.splats is None:
        write(path, generate())
    scene = read(path)
    print(f"{path}: {scene.components:,} Gaussians, total weight {ops.integrate(scene).item():.4g}")
    fewer = reduce_mixtures(scene, options.components, [path.name])
    print(f"reduced: {fewer.components:,} Gaussians, total weight {ops.integrate(fewer).item():.4g}")

    at = scene.positions[:, torch.linspace(0, scene.components - 1, min(1000, scene.components)).long()]
    before, after = (ops.evaluate(mixture, at) for mixture in (scene, fewer))
    error = ((after - before).square().mean().sqrt() / before.square().mean().sqrt()).item()
    print(f"at {at.shape[1]:,} of the splats' centres the reduced scene differs by {100 * error:.0f} % (RMS)")
    write(options.output / "fewer.ply", fewer)
    for name, file in (("before", path), ("after", options.output / "fewer.ply")):
        print(f"{name}: {file}, {show(file, output=options.output / f'{name}.png')}")
    return error


if __name__ == "__main__":
    main()
