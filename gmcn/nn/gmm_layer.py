"""A Gaussian mixture as a layer on what lies at each position of an image (Image Modeling with DCGMMs, 3.1; 2021).

At a position with the channels x [C], component k has the log-score

    s_k = log π_k + log N(x; μ_k, Σ_k),    Σ_k = diag(1 / d_k²) + U_k U_kᵀ,

where d are square roots of precisions; U are factors, which most layers do not have. The layer's output are the
responsibilities softmax_k s_k, its log-likelihood is logsumexp_k s_k, and max_k s_k is the lower bound that is trained.

With D = diag(d²), the square is opened, so that all scores come of one product of [x, x²] with weights, and the N x K x
C differences are never formed; factors add

    ½ |Γ_kᵀ (x - μ_k)|²,    Γ = D U L⁻ᵀ,    L Lᵀ = 1 + Uᵀ D U        (Woodbury)
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gmcn.errors import InputError
from gmcn.mixture import Diagonal, GaussianMixture, LowRank
from gmcn.nn.folding import Folding, Pair
from gmcn.nn.gmm_objective import (
    ObjectiveOfImages,
    ObjectiveOfScores,
    both,
    equal,
    least_share,
    of_squares,
    opened,
    product,
)
from gmcn.ops.autograd import transformed
from gmcn.ops.winners import best_and_shares
from gmcn.precision import full_precision

CAP = 20.0
LEAST = 1e-4  # precision, so that its logarithm is finite
EVERYTHING = (True, True, True)
RARE = -20.0  # log-weight of a component without points, which a gradient can raise again

Parts = tuple[bool, bool, bool]  # means, roots with factors, logits
Parameters = tuple[Tensor, Tensor, Tensor, Tensor | None]  # logits, means, roots, factors


class GMMLayer(nn.Module):
    """Maps [B, C, H, W] to responsibilities [B, K, H, W] of K Gaussians over the C channels, which all positions share.

    Args:
        channels: C.
        components: K.
        rank: number R of factors of a low-rank covariance; 0: it is diagonal.
        positions: (H, W) where each position has Gaussians of its own.
        cap: largest precision 1 / σ², of values in the units of the input.
        precision: at first; by default the cap.
        spread: centroids are at first uniform in [-spread, spread].
        generator: of the initial parameters; by default torch's own.

    Attributes:
        logits: log π up to a constant, [K]; with positions all have [P, ...] first, P = H W.
        means: μ, [K, C].
        roots: d, [K, C].
        factors: U, [K, C, R]; None where the rank is 0.

    Raises:
        InputError: a size or number that cannot be, or an input of other channels or positions.
    """

    def __init__(
        self,
        channels: int,
        components: int,
        rank: int = 0,
        *,
        positions: Pair | None = None,
        cap: float = CAP,
        precision: float | None = None,
        spread: float = 0.01,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        sizes = {"channels": channels, "components": components, "rank": rank}
        for name, size in sizes.items():
            least = 0 if name == "rank" else 1
            if type(size) is not int or size < least:
                raise InputError(f"GMMLayer: {name} is {size}; it must be a whole number of at least {least}")
        precision = cap if precision is None else precision
        if not 0 < precision <= cap < math.inf:
            raise InputError(f"GMMLayer: precision {precision} must be above 0, and at most the cap of {cap}")
        self.channels, self.components, self.rank, self.positions, self.cap = channels, components, rank, positions, cap
        lead = () if positions is None else (math.prod(positions),)
        own: dict[str, Any] = {"generator": generator, "device": None if generator is None else generator.device}
        self.logits = nn.Parameter(torch.zeros(*lead, components))
        self.means = nn.Parameter((2 * torch.rand(*lead, components, channels, **own) - 1) * spread)
        self.roots = nn.Parameter(torch.full((*lead, components, channels), math.sqrt(precision)))
        self.factors: nn.Parameter | None = None
        if rank:
            # Their variance at first is a tenth of the diagonal's.
            deviation = math.sqrt(0.1 / (rank * precision))
            self.factors = nn.Parameter(torch.randn(*lead, components, channels, rank, **own) * deviation)

    def extra_repr(self) -> str:
        return f"{self.channels}, {self.components}, rank={self.rank}, positions={self.positions}, cap={self.cap:g}"

    @property
    def mixture(self) -> GaussianMixture:  # [K], or [P] of K
        """The density of one position's channels, without a gradient."""
        std = 1 / self.roots.detach().abs()
        covariance = Diagonal(std) if self.factors is None else LowRank(std, self.factors.detach())
        return GaussianMixture(self.logits.detach(), self.means.detach(), covariance)

    def forward(
        self,
        x: Tensor,  # [B, C, H, W]
    ) -> Tensor:  # [B, K, H, W]
        """Responsibilities: estimation."""
        return responsibilities(self.log_scores(x))

    def log_likelihood(
        self,
        x: Tensor,  # [B, C, H, W]
    ) -> Tensor:  # [B, H, W]
        """log p of each position's channels, in nats (equation 3)."""
        return self.log_scores(x).logsumexp(1)

    def bound(
        self,
        x: Tensor,  # [B, C, H, W]
    ) -> Tensor:  # [B, H, W]
        """The log-score of the best component: a lower bound of ``log_likelihood``, by at most log K."""
        return self.log_scores(x).amax(1)

    @full_precision
    def log_scores(
        self,
        x: Tensor,  # [B, C, H, W]; before ``folding``
        folding: Folding | None = None,
    ) -> Tensor:  # [B, K, H', W']
        """s. With a ``folding`` before it, the folded tensor is formed only for Gaussians of each position's own.

        Raises:
            InputError: other channels or positions than the layer's.
        """
        x, folding = self._seen(x, folding)
        return self._scores(x, folding, self._learning(EVERYTHING))

    @full_precision
    def objective(
        self,
        x: Tensor,  # [B, C, H, W]; before ``folding``
        grid: Tensor | None = None,  # G [K, K], whose rows have the sum 1
        folding: Folding | None = None,
        learns: Parts = EVERYTHING,
        shared: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor | None]:  # [B, H', W'], [B, H', W'] int64, [B, K, H', W']
        """max_i (G s)_i at each position, the first i that has it, and with ``shared`` the responsibilities.

        Of means, roots with factors, and logits, what does not learn gets no gradient, and costs none. Responsibilities
        have none.

        Raises:
            InputError: other channels or positions than the layer's.
        """
        x, folding = self._seen(x, folding)
        parameters = logits, means, roots, factors = self._learning(learns)
        if factors is None and self.positions is None and _plain(x):
            return ObjectiveOfImages.apply(x, logits, means, roots, grid, folding, shared)
        scores = self._scores(x, folding, parameters)
        rows = scores.movedim(1, -1)
        objective, winners = ObjectiveOfScores.apply(rows.reshape(-1, rows.shape[-1]), grid)
        shares = responsibilities(scores.detach()) if shared else None
        return objective.view(rows.shape[:-1]), winners.view(rows.shape[:-1]), shares

    def _seen(self, x: Tensor, folding: Folding | None) -> tuple[Tensor, Folding | None]:
        """The input, checked, and the folding that is still to be done."""
        size, channels = (x.shape[2], x.shape[3]), x.shape[1]
        if folding is not None:
            channels, size = folding.output(channels, size)
        if channels != self.channels or self.positions not in (None, size):
            where = "" if self.positions is None else f" at {list(self.positions)} positions"
            raise InputError(
                f"GMMLayer: the input has {channels} channels at {list(size)} positions; this layer takes "
                f"{self.channels}{where}"
            )
        if self.positions is not None and folding is not None:
            return folding(x), None
        return (x.flatten(1)[..., None, None], None) if size == (1, 1) else (x, folding)

    def _learning(self, learns: Parts) -> Parameters:
        """logits, means, roots and factors; what does not learn without its gradient."""
        means, roots, logits = learns
        factors = self.factors if roots or self.factors is None else self.factors.detach()
        return (
            self.logits if logits else self.logits.detach(),
            self.means if means else self.means.detach(),
            self.roots if roots else self.roots.detach(),
            factors,
        )

    def _scores(self, x: Tensor, folding: Folding | None, parameters: Parameters) -> Tensor:  # [B, K, H', W']
        logits, means, roots, factors = parameters
        squares, linear, constant = opened(logits, means, roots)
        if factors is None:
            return _opened_scores(x, squares, linear, constant, folding)
        weighted = roots.square()[..., None] * factors
        inner = factors.mT @ weighted + torch.eye(factors.shape[-1], dtype=factors.dtype, device=factors.device)
        lower = torch.linalg.cholesky(inner)
        gamma = torch.linalg.solve_triangular(lower, weighted.mT, upper=False).mT  # [K, C, R]
        constant = constant - lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        scores = _opened_scores(x, squares, linear, constant, folding)
        shift = (gamma.mT @ means[..., None])[..., 0]  # [K, R]
        lines = product(x, gamma.mT.flatten(-3, -2), folding, -shift.flatten(-2))  # [B, K R, H', W']
        return scores + 0.5 * lines.unflatten(1, (self.components, -1)).square().sum(2)

    @torch.no_grad()
    def clip_(self) -> None:
        """Keep precisions at the cap or below."""
        self.roots.abs_().clamp_(math.sqrt(LEAST), math.sqrt(self.cap))

    @torch.no_grad()
    def down(
        self,
        control: Tensor,  # [B, K, H, W]
        generator: torch.Generator,
        top: int | None = None,
        divisor: float = 1.0,
    ) -> Tensor:  # [B, C, H, W]
        """Sampling: at each position a component drawn by the control signal, then a sample of it.

        Args:
            control: shares of the components; what is negative counts as 0, and all are alike where none is positive.
            generator: draws on its device, the same for a layer on any.
            top: S, how many of the largest shares count.
            divisor: of the standard deviations.
        """
        if control.shape[1] != self.components:
            raise InputError(f"GMMLayer: the control signal has {control.shape[1]} channels, not one per component")
        batch, _, rows, columns = control.shape
        shares = control.movedim(1, -1).flatten(1, 2).clamp(min=0).double().to(generator.device)  # [B, P, K]
        shares = torch.where(shares.sum(-1, keepdim=True) > 0, shares, 1.0)
        if top is not None and top < self.components:
            least = shares.topk(top, -1)
            shares = torch.zeros_like(shares).scatter(-1, least.indices, least.values)
        drawn = (
            torch.multinomial(shares.flatten(0, 1), 1, generator=generator)
            .view(batch, rows * columns)
            .to(control.device)
        )
        place = torch.arange(rows * columns, device=control.device).expand_as(drawn)
        where = drawn if self.positions is None else (place, drawn)
        own: dict[str, Any] = {"generator": generator, "device": generator.device, "dtype": torch.float64}
        noise = torch.randn(batch, rows * columns, self.channels, **own).to(self.means)
        values = noise / self.roots[where].abs()
        if self.factors is not None:
            more = torch.randn(batch, rows * columns, self.factors.shape[-1], 1, **own).to(self.means)
            values = values + (self.factors[where] @ more)[..., 0]
        return (self.means[where] + values / divisor).unflatten(1, (rows, columns)).movedim(-1, 1)

    @torch.no_grad()
    def take_(self, mixture: GaussianMixture, place: Any = ...) -> None:
        """Take over a mixture's parameters, all or those of position ``place``; precisions are clipped."""
        covariance: Any = mixture.covariance
        self.logits[place] = mixture.logits.clamp(min=RARE)
        self.means[place] = mixture.means
        self.roots[place] = 1 / covariance.std
        if self.factors is not None:
            self.factors[place] = covariance.factor
        self.clip_()


def responsibilities(
    scores: Tensor,  # [B, K, H, W]
) -> Tensor:  # [B, K, H, W]
    """The shares of the components; those that no sum would notice are 0, since arithmetic with them is slow."""
    rows, least = scores.movedim(1, -1).contiguous(), least_share(scores.dtype)
    if rows.requires_grad and torch.is_grad_enabled():
        return functional.threshold(rows.softmax(-1), least, 0.0).movedim(-1, 1)
    shares = rows.clone()
    best_and_shares(shares.view(-1, shares.shape[-1]), None, least)
    return shares.movedim(-1, 1)


def _opened_scores(
    x: Tensor,  # [B, C', H, W]
    squares: Tensor,  # [K, C], or [P, K, C]
    linear: Tensor,
    constant: Tensor,  # [K], or [P, K]
    folding: Folding | None,
) -> Tensor:  # [B, K, H', W']
    if not (squares.requires_grad and torch.is_grad_enabled()) and equal(squares):
        return product(x, linear, folding, constant) + of_squares(x, squares, folding)
    return both(x, linear, squares, folding, constant)


def _plain(x: Tensor) -> bool:
    """Whether the compiled gradient is there for this input, which must need none itself."""
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not x.requires_grad
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not transformed()
    )
