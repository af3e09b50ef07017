"""Random mixtures for the tests of layers and networks."""

from __future__ import annotations

import torch

from gmcn import Mixture


def random_mixture(*shape: int, dim: int = 3, seed: int = 0, dtype: torch.dtype = torch.float64) -> Mixture:  # [*shape]
    """Positive weights and round covariances, as a fit of the input has them; the last size is N."""
    generator = torch.Generator().manual_seed(seed)
    factors = 0.3 * torch.randn(*shape, dim, dim, generator=generator, dtype=torch.float64)
    return Mixture(
        torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1,
        2 * torch.randn(*shape, dim, generator=generator, dtype=torch.float64),
        factors @ factors.mT + 0.2 * torch.eye(dim, dtype=torch.float64),
    ).to(dtype)
