"""Foldings, poolings and mixtures one above the other (DCGMM, section 3): estimation upwards, sampling downwards."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gmcn.errors import InputError
from gmcn.nn.folding import Folding, Pair, Pooling
from gmcn.nn.gmm_layer import CAP, GMMLayer, Parts, responsibilities

LAYER = r"(?:[FP]\d+(?:x\d+)?(?:,\d+(?:x\d+)?)?|G\d+(?:x\d+)?)"  # as they are written


class GMMStack(nn.Module):
    """Layers in the order of estimation; the last is a mixture.

    Args:
        shape: colours, rows and columns of an image.
        layers: "F7,3" is a folding by windows of 7 x 7 in steps of 3, "P2" a pooling, "G25" a mixture of 25 components,
            "G25x4" of 25 with 4 factors; "F4x6,2x3" has other numbers for rows and columns.
        unshared: numbers of the mixtures, from 1, with Gaussians of their own at each position.
        caps: largest precisions, one for all mixtures or one for each.
        precision: that at first, where the cap allows it; None: the cap.
        spread: centroids are at first uniform within this much of 0.

    Raises:
        InputError: a stack that does not fit the images, or whose mixtures do not have foldings between them.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        layers: Sequence[str],
        *,
        unshared: Sequence[int] = (),
        caps: Sequence[float] = (CAP,),
        precision: float | None = None,
        spread: float = 0.01,
    ) -> None:
        super().__init__()
        kinds = "".join(spec[:1] for spec in layers)
        count = kinds.count("G")
        if not all(re.fullmatch(LAYER, spec) for spec in layers) or kinds[-1:] != "G" or "GG" in kinds:
            raise InputError(
                f"the layers {', '.join(layers)} must be foldings (F7,3), poolings (P2) and mixtures (G25), the last a "
                "mixture, with a folding between two of them"
            )
        if len(caps) not in (1, count):
            raise InputError(f"there are {len(caps)} caps for {count} mixtures; say one for all, or one for each")
        if wrong := [number for number in unshared if number > count]:
            raise InputError(f"unshared names mixture {wrong[0]}, but there are {count}")
        self.layers = nn.ModuleList()
        self.sizes = []  # (channels, (rows, columns)) of each layer's input
        channels, size = shape[0], (shape[1], shape[2])
        for place, spec in enumerate(layers):
            self.sizes.append((channels, size))
            numbers = [int(number) for number in re.findall(r"\d+", spec)]
            layer: Any
            try:
                if spec[0] == "G":
                    number = kinds[:place].count("G") + 1
                    cap = caps[(number - 1) % len(caps)]
                    start = cap if precision is None else min(precision, cap)
                    own = size if number in unshared else None
                    layer = GMMLayer(channels, *numbers, positions=own, cap=cap, precision=start, spread=spread)
                    channels = layer.components
                else:
                    layer = (Folding if spec[0] == "F" else Pooling)(*_windows(spec))
                    channels, size = layer.output(channels, size)
            except InputError as error:
                raise InputError(f"layer {place + 1}, {spec}: {error}") from None
            self.layers.append(layer)

    @property
    def mixtures(self) -> list[GMMLayer]:
        """The GMM layers, from the image upwards."""
        return [layer for layer in self.layers if isinstance(layer, GMMLayer)]

    def positions(self, number: int) -> Pair:
        """Rows and columns of mixture ``number``, from 0."""
        return self.sizes[self._place(number)][1]

    def _place(self, number: int) -> int:
        """Where the mixture of this number lies in the layers."""
        return [place for place, layer in enumerate(self.layers) if isinstance(layer, GMMLayer)][number]

    def scores(
        self,
        x: Tensor,  # [B, C, H, W], what layer ``first`` is given
        first: int = 0,
    ) -> Iterator[Tensor]:  # [B, K, H, W] each
        """The log-scores of each mixture from there upwards; no gradient flows from one to those below."""

        def step(layer: GMMLayer, x: Tensor, folding: Folding | None) -> tuple[Tensor, Callable[[], Tensor]]:
            scores = layer.log_scores(x, folding)
            return scores, lambda: responsibilities(scores.detach())

        return self._upwards(x, first, step)

    def objectives(
        self,
        x: Tensor,  # [B, C, H, W]
        annealings: Iterable[Any],
        learns: Iterable[Parts],
    ) -> Iterator[Tensor]:  # [B, H, W] each
        """What is trained of each mixture, by its :class:`gmcn.nn.annealing.Annealing`.

        ``learns`` says of each which parts learn, see :meth:`gmcn.nn.GMMLayer.objective`.
        """
        each = zip(annealings, learns, strict=True)

        def step(layer: GMMLayer, x: Tensor, folding: Folding | None) -> tuple[Tensor, Callable[[], Tensor | None]]:
            annealing, parts = next(each)
            objective, shares = annealing.objective_of(layer, x, folding, parts, shared=layer is not self.layers[-1])
            return objective, lambda: shares

        return self._upwards(x, 0, step)

    def _upwards(self, x: Tensor, first: int, step: Callable[..., tuple[Tensor, Callable[[], Any]]]) -> Iterator:
        """What ``step`` finds of each mixture, which also says how the next layers' input is made."""
        folding, above = None, None
        for layer in self.layers[first:]:
            if isinstance(layer, GMMLayer):
                found, above = step(layer, x, folding)
                yield found
                folding = None
                continue
            if above is not None:  # not before: a caller may not ask for more
                x, above = above(), None
            if folding is not None:  # no mixture follows it
                x, folding = folding(x), None
            if isinstance(layer, Folding):
                folding = layer
            else:
                x = layer(x)

    def seen(
        self,
        x: Tensor,  # [B, C, H, W]
        number: int,
    ) -> Tensor:  # [B, C', H', W']
        """The folded input of mixture ``number``, from 0."""
        for layer in self.layers[: self._place(number)]:
            x = layer(x)
        return x

    @torch.no_grad()
    def down(
        self,
        control: Tensor,  # [B, K, H, W]
        generator: torch.Generator,
        *,
        number: int = -1,
        top: int | None = None,
        divisor: float = 1.0,
        sharpen: int = 0,
        rate: float = 0.1,
    ) -> Tensor:  # [B, C, H, W]
        """Sampling from a mixture downwards.

        Args:
            control: shares of the components of mixture ``number`` (by default the last), of which all count.
            generator: of the draws.
            number: from 0.
            top: S, how many components count at a position of the mixtures below.
            divisor: of standard deviations.
            sharpen: steps of gradient ascent after each folding on the log-likelihood of the next mixture above.
            rate: of these steps (section 3.2.3: 1000 steps of 0.1).
        """
        last = self._place(number)
        x = self.mixtures[number].down(control, generator, None, divisor)
        for place in reversed(range(last)):
            layer: Any = self.layers[place]
            if isinstance(layer, GMMLayer):
                x = layer.down(x, generator, top, divisor)
                continue
            x = layer.down(x, self.sizes[place][1])
            if isinstance(layer, Folding) and sharpen:
                x = self.sharpened(x, place, sharpen, rate)
        return x

    def sharpened(
        self,
        x: Tensor,  # [B, C, H, W], what layer ``place`` is given
        place: int,
        steps: int,
        rate: float,
    ) -> Tensor:  # [B, C, H, W]
        """Gradient ascent of each image by itself on the next mixture's log-likelihood, the mean over its positions."""
        x = x.detach().clone()
        for _ in range(steps):
            with torch.enable_grad():
                x.requires_grad_()
                value = next(self.scores(x, place)).logsumexp(1).mean((1, 2)).sum()
                (slope,) = torch.autograd.grad(value, x)
            x = x.detach().add_(slope, alpha=rate)
        return x


def _windows(spec: str) -> list[tuple[int, int]]:
    """Window and step of "F7,3" or "F4x6,2x3"."""
    pairs = (part.split("x") for part in spec[1:].split(","))
    return [(int(pair[0]), int(pair[-1])) for pair in pairs]
