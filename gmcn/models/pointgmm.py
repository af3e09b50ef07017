"""PointGMM: a point cloud becomes a code, and the code a tree of Gaussian mixtures.

points [B, M, 3] -> code [B, Z] -> tree with levels of 8, 32, 128, ... Gaussians, whose leaves are the cloud's density

*PointGMM: a Neural GMM Network for Point Clouds* (Hertz, Hanocka, Giryes and Cohen-Or, CVPR 2020), the generative half.
Everything is learnt by the gradient of the likelihood of points; there is no EM in it. docs/pointgmm.md says where the
paper, the authors' code and this one differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from gmcn.declared import FILLED, above, at_least, at_most
from gmcn.errors import InputError
from gmcn.fitting import fit_gmm
from gmcn.mixture import Frame, GaussianMixture, LowRank, MixtureTree
from gmcn.models.generative import Generative, no_options
from gmcn.models.network import Dim, InitialSeed, Probability, seeded
from gmcn.nn.norm import BatchNorm
from gmcn.nn.point_encoder import PointEncoder
from gmcn.nn.tree_decoder import CHILDREN, ROOTS, TreeDecoder
from gmcn.nn.tree_likelihood import exact, hard_path

BATCH = 100  # bounds memory
POINTS = 1024  # of a cloud that is drawn
HIDDEN = 512
FLAT = 1e-6  # a leaf's smallest variance where samples shall lie on surfaces
FACTORS = 16  # of the components of a prior, at most


class PointGMM(Generative):
    """A (variational) auto-encoder of point clouds whose decoder gives trees of mixtures, for the task `generation`.

    Raises:
        InputError: for a value that cannot be, or points of another shape.
    """

    takes = ("points",)
    tasks = ("generation",)
    prior_logits: Tensor  # [K]
    prior_means: Tensor  # [K, Z]
    prior_std: Tensor  # [K, Z]
    prior_factor: Tensor  # [K, Z, R]

    def __init__(
        self,
        dim: Dim = 3,
        *,
        latent: Annotated[int, at_least(1), "Numbers of a code."] = 256,
        width: Annotated[int, at_least(8), "Numbers of each feature that becomes a Gaussian."] = 512,
        splits: Annotated[
            int, at_least(0), at_most(5), "How often each Gaussian is split into four; the first level has eight."
        ] = 3,
        encoder: Annotated[
            Sequence[Annotated[int, at_least(1), "Numbers that a layer makes of each point."]],
            FILLED,
            "Layers that all points share.",
        ] = (64, 128, 1024),
        neighbours: Annotated[
            int,
            at_least(0),
            "Neighbours by which the encoder sees a point, whatever the rotation; 0: by its coordinates.",
        ] = 0,
        attention: Annotated[bool, "Whether Gaussians see their siblings before they are split."] = True,
        dropout: Annotated[Probability, "Probability to drop a value where Gaussians are split."] = 0.1,
        likelihood: Annotated[
            Literal["hard-path", "soft-path", "leaves", "path-and-leaves"],
            "What is trained. hard-path: on each level the points' likelihood among the children of one ancestor, as "
            "published; soft-path: that of each level's whole mixture; leaves: that of the last level alone; "
            "path-and-leaves: the first and the third.",
        ] = "hard-path",
        variational: Annotated[bool, "Whether codes are drawn in training, and near a normal distribution."] = True,
        kl_weight: Annotated[
            float, at_least(0), "Factor in the loss of the codes' divergence from it, in nats per number of a code."
        ] = 1.0,
        flatness: Annotated[float, at_least(0), "Factor in the loss of the leaves' mean smallest variance."] = 10.0,
        floor: Annotated[float, above(0), "Smallest variance of a Gaussian, in squared units of the data."] = 1e-6,
        prior: Annotated[
            Literal["normal", "mixture"],
            "What new codes are drawn from: the normal distribution, or a mixture of factor analysers that is fitted "
            "to the codes of the training objects after the last step.",
        ] = "normal",
        prior_components: Annotated[int, at_least(1), "Components of that mixture."] = 1,
        seed: InitialSeed = None,
    ) -> None:
        super().__init__()
        if dim != 3:
            raise InputError(f"PointGMM: the data have {dim} dimensions, and its Gaussians lie in 3; take 3D points")
        self.latent, self.likelihood, self.variational, self.prior = latent, likelihood, variational, prior
        self.leaves = ROOTS * CHILDREN**splits
        self.kl_weight, self.flatness = kl_weight, flatness
        with seeded(seed, self):
            self.encoder = PointEncoder(dim, encoder, neighbours)
            self.code = nn.Sequential(
                nn.Linear(encoder[-1], HIDDEN, bias=False), BatchNorm(HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, latent)
            )
            # Mean, and logarithm of the variance.
            self.heads = nn.ModuleList(nn.Linear(latent, latent) for _ in range(2 if variational else 0))
            self.decoder = TreeDecoder(latent, width, splits, attention=attention, dropout=dropout, floor=floor)
        if prior == "mixture":
            shape, factors = (prior_components, latent), min(FACTORS, latent)
            self.register_buffer("prior_logits", torch.zeros(prior_components))
            self.register_buffer("prior_means", torch.zeros(shape))
            self.register_buffer("prior_std", torch.ones(shape))
            self.register_buffer("prior_factor", torch.zeros(*shape, factors))

    def encode(
        self,
        points: Tensor,  # [B, M, 3]
    ) -> Tensor:  # [B, Z]
        """The code of each cloud; of a variational network the mean."""
        code = self.code(self.encoder(points))
        return self.heads[0](code) if self.variational else code

    def decode(
        self,
        codes: Tensor,  # [B, Z]
    ) -> MixtureTree:  # levels [B, N]
        """The tree of each code: levels of 8, 32, 128, ... Gaussians in the units of the data."""
        return self.decoder(codes)

    def forward(
        self,
        points: Tensor,  # [B, M, 3]
    ) -> MixtureTree:  # levels [B, N]
        """The tree of each cloud."""
        return self.decode(self.encode(points))

    def outputs_and_penalty(
        self,
        inputs: Tensor,  # [B, M, 3]
    ) -> tuple[MixtureTree, Tensor]:
        """The tree of a code that is drawn for each cloud; and what the leaves' thickness and the codes cost, []."""
        codes, penalty = self.code(self.encoder(inputs)), inputs.new_zeros(())
        if self.variational:
            means, logs = (head(codes) for head in self.heads)
            codes = means + (logs / 2).exp() * torch.randn_like(means)
            penalty = penalty + self.kl_weight * (means.square() + logs.exp() - 1 - logs).mean() / 2
        tree = self.decode(codes)
        thickness = _frame(tree.leaves()).variances.amin(-1).mean()
        return tree, penalty + self.flatness * thickness

    def log_likelihoods(
        self,
        tree: MixtureTree,  # levels [B, N]
        points: Tensor,  # [B, M, 3]
    ) -> Tensor:  # [B, M, T]
        """The terms that training maximises the sum of, in nats, by ``likelihood``."""
        if self.likelihood == "soft-path":
            return torch.stack([exact(level, points) for level in tree.levels], -1)
        leaves = [exact(tree.leaves(), points)[..., None]] if self.likelihood.endswith("leaves") else []
        path = [] if self.likelihood == "leaves" else [hard_path(tree, points)]
        return torch.cat([*path, *leaves], -1)

    def start_(self, inputs: Tensor, seed: int, labels: Tensor | None = None) -> None:
        """Refuse fewer objects than the prior needs, before they are trained on."""
        count = self.prior_means.shape[0] if self.prior == "mixture" else 0
        if len(inputs) < 2 * count:
            raise InputError(
                f"PointGMM: a prior of {count} components needs {2 * count} training objects, and there are "
                f"{len(inputs)}; set network.prior_components lower"
            )

    @torch.no_grad()
    def finish_(self, inputs: Tensor) -> None:
        """Fit the prior to the codes of all training objects [S, M, 3]."""
        if self.prior != "mixture":
            return
        codes = torch.cat([self.encode(part) for part in inputs.split(BATCH)]).double().cpu()
        count, factors = self.prior_means.shape[0], self.prior_factor.shape[-1]
        found: Any = fit_gmm(codes, count, covariance="low-rank", rank=factors, seed=0)
        for name, value in (
            ("logits", found.logits),
            ("means", found.means),
            ("std", found.covariance.std),
            ("factor", found.covariance.factor),
        ):
            getattr(self, f"prior_{name}").copy_(value)

    def prior_density(self) -> GaussianMixture:
        """What new codes are drawn from, over [Z]."""
        if self.prior == "mixture":
            return GaussianMixture(self.prior_logits, self.prior_means, LowRank(self.prior_std, self.prior_factor))
        own = next(self.parameters())
        std, factor = own.new_ones(1, self.latent), own.new_zeros(1, self.latent, 0)
        return GaussianMixture(own.new_zeros(1), torch.zeros_like(std), LowRank(std, factor))

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator,
        *,
        components: Tensor | None = None,
        points: int = POINTS,
        flatten: bool = False,
        **how: Any,
    ) -> Tensor:  # [n, points, 3]
        """New clouds: codes from the prior, then points of their leaves (:func:`draw`)."""
        no_options(self, how if components is None else {**how, "components": components})
        return draw(self.decode(self.prior_density().sample(n, generator)), points, generator, flatten=flatten)

    @torch.no_grad()
    def like(
        self,
        inputs: Tensor,  # [B, M, 3]
        generator: torch.Generator,
        *,
        points: int = POINTS,
        flatten: bool = False,
        **how: Any,
    ) -> Tensor:  # [B, points, 3]
        """Points of the mixture that the network makes of each cloud."""
        no_options(self, how)
        return draw(self(inputs), points, generator, flatten=flatten)

    @torch.no_grad()
    def between(
        self,
        ends: Tensor,  # [2, M, 3]
        n: int,
        generator: torch.Generator,
        *,
        points: int = POINTS,
        flatten: bool = False,
        **how: Any,
    ) -> Tensor:  # [n, points, 3]
        """Clouds of codes at equal steps on the line between those of two clouds."""
        no_options(self, how)
        return draw(self.decode(line(self.encode(ends), n)), points, generator, flatten=flatten)


def line(
    ends: Tensor,  # [2, Z]
    n: int,
) -> Tensor:  # [n, Z]
    """Codes at equal steps from the first to the second; one alone is the first."""
    shares = torch.linspace(0, 1, n, dtype=ends.dtype, device=ends.device)[:, None]
    return ends[0] + shares * (ends[1] - ends[0])


def draw(
    tree: MixtureTree,  # levels [B, N]
    points: int,
    generator: torch.Generator,
    *,
    flatten: bool = False,
) -> Tensor:  # [B, points, 3]
    """Points of each tree's leaves, whose smallest variance ``flatten`` makes almost nothing, as of a surface."""
    leaves = tree.leaves()
    if flatten:
        frame = _frame(leaves)
        variances = frame.variances.scatter(-1, frame.variances.argmin(-1, keepdim=True), FLAT)
        leaves = GaussianMixture(leaves.logits, leaves.means, Frame(frame.axes, variances))
    return leaves.sample(points, generator)


def _frame(mixture: GaussianMixture) -> Frame:  # [B, N]
    assert isinstance(mixture.covariance, Frame)  # as the decoder makes them
    return mixture.covariance
