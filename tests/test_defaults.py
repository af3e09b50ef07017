"""torch.set_default_device and torch.set_default_dtype of the caller: what is computed does not depend on them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

import gmcn
from gmcn import Mixture, ops
from gmcn.artifacts import load_tensors
from gmcn.data.augmentation import Augmentation, augment
from gmcn.device import PRODUCTS, own_defaults
from gmcn.fitting import METHODS, fit_images, fit_points, quality
from gmcn.models import GMCN, PointNet, PointNet2
from gmcn.training import train
from gmcn.training.datamodule import BatchLoader, stratified_split

from .training.conftest import NETWORK, TRAINING, make_mixtures

LABELS = torch.tensor([0] * 5 + [1] * 7)
CLOUDS = torch.randn(2, 60, 3, generator=torch.Generator().manual_seed(0))
IMAGES = torch.rand(2, 9, 9, generator=torch.Generator().manual_seed(0))
MIXTURE = fit_points(CLOUDS, 8)
CHANNELS = MIXTURE.map(lambda tensor: tensor[:, None].clone())
LAYERS = ((4, 8), (6, 4))
NETWORKS = {
    "gmcn": GMCN(LAYERS, 5, seed=1),
    "fitted": GMCN(LAYERS, 5, seed=1, convolve_fit=2, reduction_count="authors"),
    "nodes": GMCN(LAYERS, 5, seed=1, fit_at=2, fit_at_last=16, fit_at_least=4),
    "em": GMCN(LAYERS, 5, seed=1, reduction="em", em_refine=1, norm="running"),
    "pointnet": PointNet(5, seed=1),
    "pointnet2": PointNet2(5, seed=1, features="gaussians"),
}
AUGMENTATION = Augmentation(rotation="axis", scaling=(0.8, 1.2), reflection=(0,), translation=0.1, dropping=0.1)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def trained(name: str) -> list[Tensor]:
    """A step forward and backward, and the statistics that it leaves."""
    network = NETWORKS[name].train()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    torch.manual_seed(0)
    logits = network(MIXTURE)
    gradients = torch.autograd.grad(logits.square().sum(), list(network.parameters()), allow_unused=True)
    found = [logits.detach(), *(part for part in gradients if part is not None)]
    found += [buffer.clone() for buffer in network.buffers()]
    network.load_state_dict(before)
    return found


def loaded_batches() -> list[Tensor]:
    loader = BatchLoader(
        MIXTURE, LABELS[:2], 2, seed=0, prepare=lambda inputs, generator: augment(inputs, AUGMENTATION, generator)
    )
    return [tensor for mixture, labels in loader for tensor in (*mixture, labels)]


def judged() -> tuple[Tensor, ...]:
    mass = torch.ones_like(CLOUDS[..., 0])
    return quality.log_likelihood(MIXTURE, CLOUDS, mass), *quality.components_without_extent(MIXTURE, mass[:, 0], 1e-4)


USES = {
    **{f"fit {method}": lambda method=method: fit_points(CLOUDS, 5, method) for method in METHODS},
    "fit of images": lambda: fit_images(IMAGES, 5),
    "quality": judged,
    **{f"step of {name}": lambda name=name: trained(name) for name in NETWORKS},
    "augmentation": lambda: augment(MIXTURE, AUGMENTATION, generator()),
    "rotation": lambda: augment(MIXTURE, Augmentation(rotation="any"), generator()),
    "split": lambda: stratified_split(LABELS, 0.3, 0),
    "batches": loaded_batches,
    **{
        f"{module.__name__} {name}": lambda module=module, name=name, rest=rest: getattr(module, name)(*rest)
        for module in (ops, ops.reference)
        for name, rest in {
            "evaluate": (MIXTURE, CLOUDS),
            "integrate": (MIXTURE,),
            "layer_moments": (torch.zeros(2, 3), torch.ones(2, 3), torch.ones(2, 1, 3), torch.ones(2), "relu"),
            "relu_fit": (MIXTURE,),
            "largest_rows": (torch.zeros(2, 3, 4),),
            "tree_log_prob": (
                torch.zeros(1, 4, 2),
                torch.zeros(1, 3),
                torch.zeros(1, 3, 2),
                torch.eye(2).expand(1, 3, 2, 2),
                (1, 2),
            ),
            "reduce_em": (MIXTURE, 3),
            "reduce_treehem": (MIXTURE, 3),
            "refine_em": (fit_points(CLOUDS, 3), MIXTURE),
            "convolve": (CHANNELS, CHANNELS),
            "convolve_fit": (CHANNELS, CHANNELS, 3),
            "convolve_relu_fit": (CHANNELS, CHANNELS),
            "convolve_relu_nodes": (CHANNELS, CHANNELS, 3),
            "convolve_reduce_treehem": (ops.convolve_relu_fit(CHANNELS, CHANNELS), CHANNELS, CHANNELS, 3),
        }.items()
    },
    "pretrained": lambda: list(gmcn.load("mnist_small").parameters()),
}


@pytest.fixture(params=["meta", "within meta", "float64"])
def _other_defaults(request) -> Iterator[None]:
    """ "meta" stands for a GPU: a tensor from there has no numbers."""
    if request.param == "within meta":
        with torch.device("meta"):
            yield
    elif request.param == "meta":
        torch.set_default_device("meta")
        yield
        torch.set_default_device(None)
    else:
        torch.set_default_dtype(torch.float64)
        yield
        torch.set_default_dtype(torch.float32)


@pytest.fixture
def wanted(request) -> list[Tensor]:
    """The results with torch's own defaults, computed before they are changed."""
    assert torch.get_default_dtype() == torch.float32
    return tensors(request.getfixturevalue("use")())


def tensors(results: Tensor | Mixture | list[Tensor]) -> list[Tensor]:
    return [results] if isinstance(results, Tensor) else list(results)


def assert_same(found: list[Tensor], wanted: list[Tensor]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert (one.device, one.dtype) == (other.device, other.dtype)
        assert torch.equal(one, other)


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.usefixtures("wanted", "_other_defaults")
def test_results(use, wanted):
    assert_same(tensors(use()), wanted)


@pytest.mark.parametrize("network", [lambda: GMCN(LAYERS, 5, 2, seed=1), lambda: GMCN(LAYERS, 5, seed=1)])
def test_a_seed_draws_the_same_network(network):
    """It is of the default device and dtype, as torch's own modules are, with the same numbers."""
    wanted = network().state_dict()
    torch.set_default_dtype(torch.float64)
    try:
        found = network().state_dict()
    finally:
        torch.set_default_dtype(torch.float32)
    for key, tensor in wanted.items():
        assert torch.equal(found[key], tensor.double() if tensor.is_floating_point() else tensor)


@pytest.mark.parametrize("kind", [lambda: GMCN(LAYERS, 5, seed=1), lambda: PointNet(5, seed=1)])
def test_a_network_goes_to_the_default_device(kind):
    before = torch.get_rng_state()
    with torch.device("meta"):
        network = kind()
    assert all(tensor.is_meta for tensor in network.state_dict().values())
    assert torch.equal(torch.get_rng_state(), before)
    network.load_state_dict(kind().state_dict(), assign=True)
    assert network.eval()(MIXTURE).isfinite().all()


@pytest.fixture
def toy(tmp_path):
    return make_mixtures(tmp_path / "toy_kmeans8.safetensors")


@pytest.fixture
def use(toy, tmp_path):
    """Training and prediction, whose libraries make tensors of their own."""
    image = tmp_path / "image.npy"
    np.save(image, (255 * IMAGES[0].repeat(4, 4)[:28, :28]).byte().numpy())
    runs = iter(range(9))

    def train_and_predict() -> list[Tensor]:
        output = tmp_path / str(next(runs))
        training = TRAINING | {"epochs": 1, "augmentation": {"translation": 0.1, "dropping": 0.1}}
        settings = {"network": NETWORK, "training": training}
        train(toy, settings=settings, seed=0, output=output, device="cpu", threads=1)
        probabilities = gmcn.predict("mnist_small", image, device="cpu")[0].probabilities
        last = torch.tensor([*probabilities.values()], dtype=torch.float64, device="cpu")
        return [*load_tensors(output / "model.safetensors")[0].values(), last]

    return train_and_predict


@pytest.mark.usefixtures("wanted", "_other_defaults")
def test_training_and_prediction(use, wanted):
    device, dtype = torch.get_default_device(), torch.get_default_dtype()
    assert_same(use(), wanted)
    assert (torch.get_default_device(), torch.get_default_dtype()) == (device, dtype), "the caller's defaults stay"


def test_no_product_is_rounded():
    """Convolutions are on a GPU by default; the scores of GMM layers are differences of large numbers."""
    torch.set_float32_matmul_precision("medium")
    try:
        before = [products.fp32_precision for products in PRODUCTS]
        assert before == ["tf32", "tf32", "bf16"]
        with own_defaults():
            assert [products.fp32_precision for products in PRODUCTS] == ["ieee"] * 3
        assert [products.fp32_precision for products in PRODUCTS] == before
    finally:
        torch.set_float32_matmul_precision("highest")
