"""A Gaussian mixture layer in the place of a two-layer perceptron, by the Wasserstein flow; and networks drawn of it.

python examples/mixture_layer.py                # on scikit-learn's digits
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from gmcn.nn import GaussianMixtureLayer
from gmcn.optim import WassersteinSGD


def main(arguments: list[str] | None = None) -> tuple[float, float]:
    parser = argparse.ArgumentParser(description="Train a Gaussian mixture layer, and draw networks from it.")
    parser.add_argument("--components", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--neurons", type=int, default=2000, help="of the network that is drawn from the layer")
    options = parser.parse_args(arguments)
    generator = torch.Generator().manual_seed(0)

    images, labels = load_digits(return_X_y=True)
    images = functional.layer_norm(torch.from_numpy(images).float(), (64,))
    labels = torch.from_numpy(labels)
    train, test = torch.randperm(len(labels), generator=generator).split((1400, len(labels) - 1400))

    # It was: nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
    network = nn.Sequential(GaussianMixtureLayer(64, 10, options.components, generator=generator))
    optimizer = WassersteinSGD(network, lr=0.2)
    for epoch in range(options.epochs):
        for batch in torch.randperm(1400, generator=generator).split(32):
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(images[train[batch]]), labels[train[batch]])
            loss.backward()
            optimizer.step()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: loss {loss.item():.4f}")

    with torch.no_grad():
        layer, x = network[0], images[test]
        accuracy = (layer(x).argmax(1) == labels[test]).double().mean().item()
        print(f"{accuracy:.1%} of the test images are right, with {options.components} Gaussians of neurons")
        # How far a finite network is from the layer is known before it is drawn.
        predicted = (layer.variance(x) / options.neurons).mean().sqrt().item()
        drawn = layer.to_mlp(options.neurons, generator)
        error = (drawn(x) - layer(x)).square().mean().sqrt().item()
    print(f"a network of {options.neurons} neurons is {error:.3f} off; predicted were {predicted:.3f}")
    return accuracy, error / predicted


if __name__ == "__main__":
    main()
