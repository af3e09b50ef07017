"""Deep convolutional Gaussian mixture models: mixtures on the responsibilities of mixtures.

images [B, H, W] -> values in [0, 1] -> folding, mixture, pooling, ... mixture -> its log-likelihood [B]

Each mixture ascends its own objective, and no gradient flows between them; sampling goes the other way. *Image Modeling
with Deep Convolutional Gaussian Mixture Models* (2021, anonymous) has the model; where its text and the authors' code
differ, options say both (docs/dcgmm.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from gmcn import ranks
from gmcn.declared import DISTINCT, FILLED, above, at_least, at_most, matching, read
from gmcn.errors import InputError
from gmcn.models.dcgmm_fitting import cluster, fit
from gmcn.models.density import Density
from gmcn.models.generative import no_options
from gmcn.models.mlp import Shape
from gmcn.models.network import InitialSeed, seeded
from gmcn.nn.annealing import Annealing, AnnealingSettings
from gmcn.nn.background import Background
from gmcn.nn.gmm_stack import LAYER, GMMStack

BATCH = 500  # bounds memory
DEAD = 0.01  # a component that this share of its part of the positions is nearest to
LEAST = 1e-6  # standard deviation of pixels that is none
Rate = Annotated[float, at_least(0), "Over the training's."]


class DCGMM(Density):
    """A stack of Gaussian mixtures on images, with `fit: null` and `task: density`.

    Its answer is the exact log-likelihood of the last mixture's input, the mean over its positions: a density of
    responsibilities, not of pixels.

    Raises:
        InputError: for a value that cannot be, a stack that does not fit the images, components that make no square
            torus, an input of another shape; before a training, for images that are all equal or have values outside
            [0, ``largest``].
    """

    takes = ("images",)

    def __init__(
        self,
        shape: Shape,
        *,
        layers: Annotated[
            Sequence[Annotated[str, matching(f"^{LAYER}$"), "A layer: such as F7,3, P2, G25 or G25x4."]],
            FILLED,
            "From the image upwards: F7,3 folds by windows of 7 x 7 in steps of 3, P2 pools, G25 is a mixture of 25, "
            "G25x4 has 4 factors besides. F4x6,2x3 has other numbers for rows and columns.",
        ] = ("F7,3", "G25", "F8", "G36"),
        unshared: Annotated[
            Sequence[Annotated[int, at_least(1), "A mixture, from 1."]],
            DISTINCT,
            "Mixtures with Gaussians of their own at each position.",
        ] = (),
        caps: Annotated[
            Sequence[Annotated[float, above(0), "A precision."]],
            FILLED,
            "Largest precisions 1/σ², one for all mixtures or one for each. Pixels and responsibilities reach 1.",
        ] = (20.0,),
        precision: Annotated[
            float | None, above(0), "At first; null: the caps. The paper's text says 1, which collapses."
        ] = None,
        spread: Annotated[float, above(0), "Centroids are at first uniform within this much of 0."] = 0.01,
        start: Annotated[
            Literal["random", "k-means"], "Whether k-means moves the centroids before the first step."
        ] = "random",
        annealing: Annotated[AnnealingSettings | None, "The torus of each mixture; null: its defaults."] = None,
        rates: Annotated[
            tuple[Rate, Rate, Rate], "Learning rates of centroids, of precisions and factors, and of weights."
        ] = (1.0, 0.5, 0.0),
        centroids_first: Annotated[
            float, at_least(0), at_most(1), "Share of a training in which only centroids move: the first phase."
        ] = 0.5,
        judged_by: Annotated[
            Literal["likelihood", "ratio", "smaller"],
            "By what outliers are found. `likelihood`: that of the last mixture's input. `ratio`: what is left of its "
            "logarithm without that under one Gaussian. `smaller`: the smaller of both, in standard deviations over "
            "the training images.",
        ] = "likelihood",
        order: Annotated[
            Literal["together", "in-turn"], "Whether mixtures learn all at once, or each in its share of the training."
        ] = "together",
        largest: Annotated[float, above(0), "The value of a pixel that counts as 1: 255 of 8 bits."] = 255.0,
        seed: InitialSeed = None,
    ) -> None:
        super().__init__()
        if len(shape) not in (2, 3):
            raise InputError(f"DCGMM: the shape of an image is [H, W] or [C, H, W], not {list(shape)}")
        self.shape, self.largest, self.rates = tuple(shape), largest, tuple(rates)
        self.begins, self.centroids_first, self.order = start, centroids_first, order
        self.judged_by = judged_by
        settings = read(AnnealingSettings, annealing, "annealing") if isinstance(annealing, Mapping) else annealing
        self.done = 0.0
        colours, rows, columns = (1, *shape) if len(shape) == 2 else shape
        try:
            with seeded(seed, self):
                self.stack = GMMStack(
                    (colours, rows, columns), layers, unshared=unshared, caps=caps, precision=precision, spread=spread
                )
            self.background = Background(self.stack.mixtures[-1]) if judged_by != "likelihood" else None
            self.annealing = nn.ModuleList(Annealing(layer.components, settings) for layer in self.stack.mixtures)
        except InputError as error:
            raise InputError(f"DCGMM: {error}") from None

    def forward(
        self,
        inputs: Tensor,  # [B, *shape]
    ) -> Tensor:  # [B]
        """Log-likelihood in nats of the last mixture's input, the mean over its positions."""
        *_, scores = self.stack.scores(self._values(inputs))
        return scores.logsumexp(1).mean((1, 2))

    def _values(self, inputs: Tensor) -> Tensor:  # [B, *shape] -> [B, C, H, W]
        if inputs.shape[1:] != self.shape:
            raise InputError(f"DCGMM: the input is {list(inputs.shape)}; this network takes [B, *{list(self.shape)}]")
        channels, size = self.stack.sizes[0]
        return inputs.to(self.stack.mixtures[0].means.dtype).reshape(-1, channels, *size) / self.largest

    @property
    def _annealing(self) -> list[Annealing]:
        return [annealing for annealing in self.annealing if isinstance(annealing, Annealing)]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Centroids, precisions with factors, and weights of each mixture."""
        groups = []
        for number, layer in enumerate(self.stack.mixtures):
            factors = [] if layer.factors is None else [layer.factors]
            parts = ([layer.means], [layer.roots, *factors], [layer.logits])
            groups += [{"params": part, "mixture": number, "part": place} for place, part in enumerate(parts)]
        return groups

    def relative_rate(self, group: Mapping[str, Any]) -> float:
        """The learning rate of a group's next step over that of the training; 0 where it rests."""
        number, part = group["mixture"], group["part"]
        if not self._learns(number) or (part and self._behind(number) < self.centroids_first):
            return 0.0
        return self.rates[part] * self._annealing[number].rate

    def before_step_(self, done: float) -> None:
        """``done`` is the share of the training that is behind."""
        self.done = done

    def _learns(self, number: int) -> bool:
        return self.order == "together" or number == int(self.done * len(self.annealing))

    def _behind(self, number: int) -> float:
        """The share of its own training that a mixture has behind it."""
        return self.done if self.order == "together" else self.done * len(self.annealing) - number

    def outputs_and_penalty(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The last mixture's objective for each image [B], and the others' as a penalty []."""
        groups = self.parameter_groups()
        learns = [self.relative_rate(group) > 0 for group in groups]
        parts = zip(learns[::3], learns[1::3], learns[2::3], strict=True)
        found = [one.mean((1, 2)) for one in self.stack.objectives(self._values(inputs), self._annealing, parts)]
        penalty = sum((-one.mean() for one in found[:-1]), self.stack.mixtures[0].means.new_zeros(()))
        if ranks.size() > 1 or not any(learns):  # torch waits for gradients of all parameters, or needs one at all
            resting = [group for group, one in zip(groups, learns, strict=True) if not one]
            penalty = penalty + sum(0 * parameter.sum() for group in resting for parameter in group["params"])
        return found[-1], penalty

    @torch.no_grad()
    def after_step_(self, rate: float, kernel_decay: float) -> None:
        """Clip precisions, and let the controllers see the step."""
        for number, (layer, annealing) in enumerate(zip(self.stack.mixtures, self._annealing, strict=True)):
            if self._learns(number):
                layer.clip_()
                annealing.step_(self._behind(number))

    @torch.no_grad()
    def start_(self, inputs: Tensor, seed: int, labels: Tensor | None = None) -> None:
        """Check the images; with the start "k-means", move each mixture's centroids to clusters of what it sees."""
        values = self._checked(inputs)
        if self.begins == "k-means":
            cluster(self.stack, values, seed)

    @torch.no_grad()
    def fit_(
        self, inputs: Tensor, iterations: int, seed: int, progress: Callable[[int, float], object]
    ) -> dict[str, Any]:
        """EM of one mixture after the other, from clusters of k-means; ``iterations`` are those of the last one."""
        fit(self.stack, self._checked(inputs), iterations, seed, progress)
        for layer, annealing in zip(self.stack.mixtures, self._annealing, strict=True):
            annealing.state[annealing.SIGMA] = annealing.settings.floor
            annealing.usage.copy_(layer.logits.softmax(-1).reshape(-1, layer.components).mean(0))
        return {}

    @torch.no_grad()
    def finish_(self, inputs: Tensor) -> None:
        """The Gaussian beside which images are judged, from those trained on."""
        if self.background is not None:
            self.background.fit_(lambda: (self._last(part) for part in inputs.split(BATCH)))

    def _last(self, inputs: Tensor) -> tuple[Tensor, Tensor]:  # [B, C, H, W], [B]
        """What the last mixture sees, and its log-likelihood."""
        seen = self.stack.seen(self._values(inputs), -1)
        return seen, self.stack.mixtures[-1].log_likelihood(seen).mean((1, 2))

    @torch.no_grad()
    def typicality(self, inputs: Tensor) -> Tensor:  # [B]
        """What ``judged_by`` says: low for outliers."""
        if self.background is None:
            return self(inputs)
        judge = self.background.ratio if self.judged_by == "ratio" else self.background.smaller
        return judge(*self._last(inputs))

    def _checked(self, inputs: Tensor) -> Tensor:
        """The values of images to train on."""
        values = self._values(inputs)
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 1:
            raise InputError(
                f"DCGMM: pixels lie between {low * self.largest:g} and {high * self.largest:g}, but must lie between "
                f"0 and the {self.largest:g} of `largest`; set it to the brightest value"
            )
        if float((values - values[:1]).abs().max()) < LEAST:
            raise InputError("DCGMM: the training images are all equal; there is nothing to learn")
        return values

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator,
        *,
        components: Tensor | None = None,  # [n]
        top: int | None = 1,
        divisor: float = 10.0,
        sharpen: int = 0,
        **others: Any,
    ) -> Tensor:  # [n, *shape]
        """``n`` images, downwards from components of the last mixture, drawn by their weights where none are given.

        ``top`` (S) components count at each position of the mixtures below, standard deviations are divided, and each
        folding is followed by steps of sharpening; see :meth:`gmcn.nn.gmm_stack.GMMStack.down`.
        """
        no_options(self, others)
        last = self.stack.mixtures[-1]
        size = self.stack.sizes[-1][1]
        weights = last.logits.softmax(-1).reshape(-1, last.components).mT[None]  # [1, K, P or 1]
        shares = weights.expand(n, -1, size[0] * size[1]).unflatten(-1, size)
        if components is not None:
            chosen = nn.functional.one_hot(components.to(shares.device), last.components).to(shares)
            shares = chosen[:, :, None, None].expand(-1, -1, *size)
        return self._downwards(shares, generator, top=top, divisor=divisor, sharpen=sharpen)

    @torch.no_grad()
    def like(
        self, inputs: Tensor, generator: torch.Generator, *, level: int | None = None, **how: Any
    ) -> Tensor:  # [B, *shape]
        """A variant of each image: downwards from its responsibilities in mixture ``level`` (None: the last)."""
        count = len(self.stack.mixtures)
        if level is not None and not 1 <= level <= count:
            raise InputError(f"DCGMM: level is {level}, and there are {count} mixtures")
        number = count - 1 if level is None else level - 1
        shares = list(self.stack.scores(self._values(inputs)))[number].softmax(1)
        return self._downwards(shares, generator, number=number, **{"top": 1, "divisor": 10.0, **how})

    def fill(self, inputs: Tensor, keep: Tensor, generator: torch.Generator, **how: Any) -> Tensor:  # [B, *shape]
        """In-painting as the authors do it: a variant of each image whose unknown pixels are 0, with the known ones."""
        return super().fill(torch.where(keep, inputs, 0), keep, generator, **how)

    def _downwards(self, shares: Tensor, generator: torch.Generator, **how: Any) -> Tensor:
        parts = [self.stack.down(part, generator, **how) for part in shares.split(BATCH)]
        return (torch.cat(parts) * self.largest).view(-1, *self.shape)

    @torch.no_grad()
    def responsibilities(self, inputs: Tensor) -> Tensor:  # [B, K]
        """Those of the last mixture's components, the mean over its positions."""
        *_, scores = self.stack.scores(self._values(inputs))
        return scores.softmax(1).mean((2, 3))

    @torch.no_grad()
    def centres(self) -> Tensor:  # [K, *shape]
        """An image of each of the last mixture's components, the most frequent first, without any noise."""
        order = self.stack.mixtures[-1].logits.reshape(-1, self.stack.mixtures[-1].components).mean(0)
        chosen = order.argsort(descending=True, stable=True)
        return self.sample(len(chosen), torch.Generator().manual_seed(0), components=chosen, divisor=float("inf"))

    @torch.no_grad()
    def layers(self, inputs: Tensor) -> list[dict[str, Any]]:
        """Of each mixture: exact log-likelihood and bound at each position [B, H, W], in nats."""
        found = self.stack.scores(self._values(inputs))
        return [
            {"name": about["name"], "log_likelihood": scores.logsumexp(1), "bound": scores.amax(1)}
            for about, scores in zip(self.about_layers(), found, strict=True)
        ]

    def about_layers(self) -> list[dict[str, Any]]:
        """Of each mixture: its name, sizes, largest precision, dead components, and the sparsity of its centroids.

        Dead are components that hardly any position is nearest to. Sparsity is Hoyer's, 0 for equal entries and 1 for
        a single one, the mean over the centroids.
        """
        return [
            {
                "name": f"mixture {number + 1}",
                "components": layer.components,
                "dim": layer.channels,
                "positions": list(self.stack.positions(number)),
                "shared": layer.positions is None,
                "factors": layer.rank,
                "cap": layer.cap,
                "dead": int((annealing.usage < DEAD / layer.components).sum()),
                "sparsity": _sparsity(layer.means),
            }
            for number, (layer, annealing) in enumerate(zip(self.stack.mixtures, self._annealing, strict=True))
        ]

    def dead(self) -> int:
        """Dead components of all mixtures."""
        return sum(about["dead"] for about in self.about_layers())


def _sparsity(means: Tensor) -> float | None:  # [..., C]
    """Hoyer's (2004); None of vectors with one entry."""
    root = means.shape[-1] ** 0.5
    if root == 1:
        return None
    ratio = means.abs().sum(-1) / means.norm(dim=-1).clamp(min=1e-30)
    return ((root - ratio) / (root - 1)).mean().item()
