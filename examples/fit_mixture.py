"""A mixture of factor analysers of all images of some classes; it finds those of others, and fills in what is hidden.

python examples/fit_mixture.py                # on scikit-learn's digits
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture as Sklearn

import gmcn
from gmcn.fitting import MixtureEstimator


def main(arguments: list[str] | None = None) -> tuple[float, float]:
    parser = argparse.ArgumentParser(description="Fit a mixture to images, find outliers, fill in hidden halves.")
    parser.add_argument("--components", type=int, default=10)
    parser.add_argument("--rank", type=int, default=6, help="factors of each component")
    options = parser.parse_args(arguments)

    images, labels = load_digits(return_X_y=True)
    images, labels = torch.from_numpy(images).float() / 16, torch.from_numpy(labels)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, test = order.split((1200, len(order) - 1200))
    known = images[train][labels[train] < 5]

    # Pixels that are always black have no variance: the floor, in squared units of the pixels, is what they get.
    estimator = MixtureEstimator(options.components, covariance="low-rank", rank=options.rank, floor=0.01)
    mixture = estimator.fit(known).mixture
    report = estimator.report
    print(f"{int(report.iterations)} iterations, log-likelihood {report.log_likelihood[-1].item():.2f} per image")

    # What is improbable comes from another class.
    outlier = labels[test] >= 5
    ours = roc_auc_score(outlier, -mixture.log_prob(images[test]))
    nearest = roc_auc_score(outlier, torch.cdist(images[test], known).amin(1))
    theirs = Sklearn(options.components, covariance_type="diag", reg_covar=0.01, random_state=0).fit(known)
    flat = roc_auc_score(outlier, -theirs.score_samples(images[test]))
    print(f"area under the ROC curve: {ours:.3f}; nearest neighbour {nearest:.3f}, scikit-learn's diagonal {flat:.3f}")

    # The lower half of each image, given the upper one: a mixture again, and its mean.
    digits = images[test][~outlier]
    upper, lower = torch.arange(32).tolist(), torch.arange(32, 64)
    filled = mixture.conditional(upper, digits[:, upper]).mean
    error = (filled - digits[:, lower]).square().mean().sqrt().item()
    blind = (known[:, lower].mean(0) - digits[:, lower]).square().mean().sqrt().item()
    print(f"hidden halves are {error:.3f} off; the mean image is {blind:.3f} off")

    # And back and forth to scikit-learn.
    again = gmcn.GaussianMixture.from_sklearn(theirs)
    print(f"scikit-learn's mixture as ours: {again.log_prob(known.double()).mean().item():.2f} per image")
    return ours, error / blind


if __name__ == "__main__":
    main()
