"""A network of your own: layers on Gaussian mixtures inside an ordinary torch module, trained with plain torch.

python examples/own_network.py                # on scikit-learn's digits
python examples/own_network.py images.npz     # arrays: images [S, H, W], labels [S]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor, nn

from gmcn import Mixture, ops
from gmcn.fitting import fit_images
from gmcn.nn import GCL, MixtureNorm


class Classifier(nn.Module):
    """Two convolutions on mixtures, the features' integrals, and a small perceptron on them."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.norm = MixtureNorm(1)  # so that the scale of an image does not matter
        self.first = GCL(1, 8, components=8, dim=2)  # [B, 1, N] -> [B, 8, 8]
        self.second = GCL(8, 16, components=4, dim=2)  # [B, 8, 8] -> [B, 16, 4]
        self.head = nn.Sequential(nn.BatchNorm1d(16), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, classes))

    def forward(self, mixture: Mixture) -> Tensor:  # [B, 1, N] -> [B, classes]
        features = self.second(self.first(self.norm(mixture)))
        return self.head(ops.integrate(features))


def load(path: str | None, objects: int) -> tuple[Tensor, Tensor]:
    """Images [S, H, W] and labels [S] of an .npz file; without one, scikit-learn's digits, 8 x 8 pixels."""
    if path is None:
        from sklearn.datasets import load_digits

        images, labels = load_digits().images, load_digits().target
    else:
        with np.load(path) as arrays:
            images, labels = arrays["images"], arrays["labels"]
    return torch.as_tensor(images[:objects]).float(), torch.as_tensor(labels[:objects]).long()


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description="Train a torch module of your own on mixtures.")
    parser.add_argument("images", nargs="?", help=".npz with images and labels (default: scikit-learn's digits)")
    parser.add_argument("--objects", type=int, default=1000, help="use so many images, the last fifth as a test")
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    images, labels = load(options.images, options.objects)
    mixtures = fit_images(images, 16).map(lambda tensor: tensor[:, None])  # [S, 1, 16]: one channel
    print(f"{len(images)} images of {images.shape[1]} x {images.shape[2]} pixels are 16 Gaussians each")

    count = len(labels) * 4 // 5
    network = Classifier(int(labels.max()) + 1)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.epochs)
    for epoch in range(options.epochs):
        network.train()
        for rows in torch.randperm(count).chunk(max(1, count // 32)):
            loss = nn.functional.cross_entropy(network(mixtures.map(lambda tensor, i=rows: tensor[i])), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
        network.eval()
        with torch.no_grad():
            found = network(mixtures.map(lambda tensor: tensor[count:])).argmax(-1)
        accuracy = (found == labels[count:]).float().mean().item()
        print(f"epoch {epoch + 1}: loss of the last batch {loss.item():.3f}, test accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
