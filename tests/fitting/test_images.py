"""Fits of images."""

from __future__ import annotations

import pytest
import torch

from gmcn.errors import InputError
from gmcn.fitting import fit_images
from gmcn.fitting.images import pixels, square
from gmcn.fitting.points import spread
from gmcn.fitting.quality import log_likelihood


def test_one_gaussian_has_the_images_moments():
    image = torch.zeros(1, 5, 7, dtype=torch.uint8)
    image[0, 1, 2:6] = 100  # row 1, columns 2 ... 5: x from 2 to 6, y from 1 to 2
    mixture = fit_images(image, 1, covariance_floor=1e-9)
    torch.testing.assert_close(mixture.positions[0, 0], torch.tensor([4.0, 1.5]))
    # A uniform bar of 4 x 1 has variances 16 / 12 and 1 / 12.
    torch.testing.assert_close(mixture.covariances[0, 0], torch.diag(torch.tensor([16 / 12, 1 / 12])))
    assert mixture.weights.item() == 1


def test_likelihood_of_a_square():
    """The nine points of a pixel against a fine grid of it: the log-density of one Gaussian is a polynomial."""
    image = torch.zeros(1, 3, 4, dtype=torch.float64)
    image[0, 1, 2] = 2
    mixture = fit_images(image, 1, covariance_floor=0.01)
    grid = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    fine = torch.cartesian_prod(2 + grid, 1 + grid)[None]
    nodes = spread(*pixels(image), square())
    expected = log_likelihood(mixture, fine, torch.ones(fine.shape[:2]))
    torch.testing.assert_close(log_likelihood(mixture, *nodes), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("method", ["kmeans_em", "random_em"])
def test_em_ends_above_its_first_step(method):
    images = torch.rand(4, 9, 9, generator=torch.Generator().manual_seed(1)) ** 4
    x, mass = spread(*pixels(images), square())
    few, many = (log_likelihood(fit_images(images, 6, method, em_steps=steps), x, mass) for steps in (1, 300))
    assert (many > few).all()


def test_brightness_is_mass():
    image = torch.zeros(1, 4, 4)
    image[0, 0, 0], image[0, 3, 3] = 0.25, 0.75
    mixture = fit_images(image, 2, em_steps=0)
    order = mixture.positions[0, :, 0].argsort()
    torch.testing.assert_close(mixture.weights[0, order], torch.tensor([0.25, 0.75]))
    torch.testing.assert_close(mixture.positions[0, order], torch.tensor([[0.5, 0.5], [3.5, 3.5]]))


def test_images_with_few_lit_pixels_among_others():
    images = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0))
    images[1] = 0
    images[1, 2, 3] = 1
    mixture = fit_images(images, 8)
    assert all(tensor.isfinite().all() for tensor in mixture)
    assert (mixture.weights[1] > 0).sum() == 1
    assert torch.linalg.eigvalsh(mixture.covariances[1]).min() >= 1 / 12  # a single pixel
    torch.testing.assert_close(mixture.positions[1], torch.tensor([3.5, 2.5]).expand(8, 2))
    alone = fit_images(images[:1], 8)
    torch.testing.assert_close(alone.positions[0], mixture.positions[0])


def test_errors():
    images = torch.ones(3, 4, 4)
    images[1] = 0
    with pytest.raises(InputError, match="image 1 is all black"):
        fit_images(images, 2)
    with pytest.raises(InputError, match=r"images have shape \[4, 4\]"):
        fit_images(torch.ones(4, 4), 2)
    with pytest.raises(InputError, match="'b' is all black"):
        fit_images(images, 2, names=["a", "b", "c"])
    with pytest.raises(InputError, match="image 0 has negative brightness"):
        fit_images(torch.tensor([[[-1.0, 2.0]]]), 1)


def test_a_pixel_that_is_no_number():
    images = torch.ones(2, 6, 6)
    images[1, 2, 3] = torch.nan
    with pytest.raises(InputError, match="image 1 has a pixel that is not finite"):
        fit_images(images, 2)
