"""A device without memory: smaller parts of a batch, or one sentence."""

from __future__ import annotations

import pytest
import torch

from gmcn import ranks
from gmcn.data.objects import TRAIN, read_split
from gmcn.training import OutOfMemoryError, TrainingSettings, train
from gmcn.training.stage import build_network
from gmcn.training.step import TrainingStep
from tests.training.conftest import NETWORK, Recorder, make_mixtures
from tests.training.processes import run
from tests.training.test_resume import Halt, crash, same

pytestmark = pytest.mark.faults

ERRORS = {
    "CUDA": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "CPU": RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"),
    "operation": RuntimeError('torch_call_dispatcher( "aten::new_empty", "", stack.data()) API call failed at ops.h'),
    "working space": RuntimeError("not enough memory for this operation's working space; try a smaller batch"),
    "C++": MemoryError("std::bad_alloc"),
}


@pytest.fixture
def memory(monkeypatch):
    """A function that lets a device hold so many shapes, whose forward pass is done when its memory ends."""
    original = TrainingStep.loss_of

    def hold(shapes: int, error: str = "CUDA") -> None:
        def loss_of(self, mixture, labels):
            outcome = original(self, mixture, labels)
            if len(labels) > shapes:
                raise ERRORS[error]
            return outcome

        monkeypatch.setattr(TrainingStep, "loss_of", loss_of)

    return hold


@pytest.mark.parametrize("error", ERRORS)
def test_a_batch_goes_in_smaller_parts(mixtures, settings, tmp_path, memory, caplog, error):
    arguments = {"seed": 0, "device": "cpu", "threads": 1}
    memory(2, error)
    result = train(mixtures, settings=settings, output=tmp_path / "short", **arguments)
    assert result["micro_batches"] == 4
    sentence = "out of memory on cpu at step 1: from here on a batch of 8 goes through the network in {} parts"
    assert all(sentence.format(parts) in caplog.text for parts in (2, 4))
    # Also the running statistics, which the failed attempts had changed already.
    settings["training"]["micro_batches"] = 4
    train(mixtures, settings=settings, output=tmp_path / "asked", **arguments)
    assert same(tmp_path / "short", tmp_path / "asked")


def test_a_part_before_the_one_that_was_too_large_does_not_count_twice(mixtures, settings, tmp_path, monkeypatch):
    original, calls = TrainingStep.loss_of, []

    def loss_of(self, mixture, labels):
        calls.append(len(labels))
        if len(calls) == 2:
            raise ERRORS["CUDA"]
        return original(self, mixture, labels)

    arguments = {"seed": 0, "device": "cpu", "threads": 1}
    settings["training"] |= {"micro_batches": 2, "epochs": 1}
    monkeypatch.setattr(TrainingStep, "loss_of", loss_of)
    train(mixtures, settings=settings, output=tmp_path / "short", **arguments)
    assert calls[:6] == [4, 4, 2, 2, 2, 2]
    settings["training"]["micro_batches"] = 4
    train(mixtures, settings=settings, output=tmp_path / "asked", **arguments)
    assert same(tmp_path / "short", tmp_path / "asked")


def test_a_resumed_training_goes_on_in_the_same_parts(mixtures, settings, tmp_path, memory, monkeypatch):
    settings["training"]["checkpoint_minutes"] = 1e-9
    arguments = {"settings": settings, "seed": 0, "device": "cpu", "threads": 1}
    memory(4)
    train(mixtures, output=tmp_path / "straight", **arguments)
    with pytest.raises(Halt):
        train(mixtures, output=tmp_path / "halted", run=Recorder({7: crash}), **arguments)
    monkeypatch.undo()  # the next device has more memory
    assert train(mixtures, output=tmp_path / "halted", **arguments)["micro_batches"] == 2
    assert same(tmp_path / "straight", tmp_path / "halted")


def test_memory_for_no_batch_statistics_ends_with_one_sentence(mixtures, settings, tmp_path, memory):
    memory(1)
    with pytest.raises(OutOfMemoryError, match=r"smallest parts.*; take a device with more memory") as info:
        train(mixtures, settings=settings, seed=0, output=tmp_path, device="cpu", threads=1)
    assert "\n" not in str(info.value)


def test_ranks_do_not_take_smaller_parts_on_their_own(mixtures, monkeypatch):
    """The others wait in the middle of theirs: one sentence says with how many parts to start again."""

    def fail(_batch):
        raise ERRORS["CUDA"]

    data = read_split(mixtures, TRAIN)
    module = TrainingStep(build_network(NETWORK, data, seed=0), TrainingSettings(batch_size=8), 4)
    monkeypatch.setattr(ranks, "size", lambda: 2)
    monkeypatch.setattr(ranks, "rank", lambda: 1)
    with pytest.raises(OutOfMemoryError, match=r"rank 1: .*; set training\.micro_batches to 2 or"):
        module._within_memory(fail, (data.inputs, data.labels))
    module.micro_batches = len(data) // 2
    with pytest.raises(OutOfMemoryError, match=r"smallest parts.*; take a device with more memory"):
        module._within_memory(fail, (data.inputs, data.labels))


def test_memory_that_ends_in_the_validation(mixtures, settings, tmp_path, monkeypatch):
    original, parts = TrainingStep._measure, []

    def measure(self, batch):
        parts.append(self.micro_batches)
        outcome = original(self, batch)
        if self.micro_batches == 1:
            raise ERRORS["CUDA"]
        return outcome

    settings["training"]["epochs"] = 1
    arguments = {"settings": settings, "seed": 0, "device": "cpu", "threads": 1}
    expected = train(mixtures, output=tmp_path / "enough", **arguments)["metrics"]
    monkeypatch.setattr(TrainingStep, "_measure", measure)
    result = train(mixtures, output=tmp_path / "short", **arguments)
    assert parts == [1, 2]
    assert result["metrics"] == pytest.approx(expected)


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_the_gradient_of_the_parts_is_that_of_the_batch(mixtures, parts):
    """All but the batch statistics, which are not taken here."""
    data = read_split(mixtures, TRAIN)
    gradients = []
    for count in (1, parts):
        settings = TrainingSettings(batch_size=8, micro_batches=count, label_smoothing=0.1)
        module = TrainingStep(build_network(NETWORK, data, seed=0).eval(), settings, 4).double()
        module.manual_backward = torch.Tensor.backward
        batch = data.inputs.map(lambda tensor: tensor[:9].double()), data.labels[:9]
        loss, _ = module.compute_gradient(batch)
        gradients.append([loss, *(parameter.grad for parameter in module.model.parameters())])
    for whole, of_parts in zip(*gradients, strict=True):
        torch.testing.assert_close(of_parts, whole, rtol=1e-9, atol=1e-12)


def test_other_errors_are_not_taken_for_a_lack_of_memory(mixtures, settings, tmp_path, monkeypatch):
    def loss_of(self, mixture, labels):
        raise RuntimeError("The size of tensor a (3) must match the size of tensor b (2)")

    monkeypatch.setattr(TrainingStep, "loss_of", loss_of)
    with pytest.raises(RuntimeError, match="must match the size"):
        train(mixtures, settings=settings, seed=0, output=tmp_path, device="cpu", threads=1)


@pytest.mark.slow
@pytest.mark.parametrize("reduction", ["em", "treehem2"])
def test_memory_that_really_ends(tmp_path, settings, reduction):
    """Half of what a step takes beyond what stays: the compiled operations have to say so, too."""
    mixtures = make_mixtures(tmp_path / "mixtures.safetensors", train=20, components=64, dim=3)
    settings["network"] |= {"reduction": reduction, "layers": [[16, 8]], "kernel_components": 5}
    settings["training"] |= {"epochs": 1, "batch_size": 20, "validation_fraction": 0}
    script = f"""
        import resource

        def limit():
            values = dict(line.split(":", 1) for line in open("/proc/self/status"))
            now, peak = (int(values[name].split()[0]) * 1024 for name in ("VmSize", "VmPeak"))
            resource.setrlimit(resource.RLIMIT_AS, ((now + peak) // 2,) * 2)

        result = trained({str(mixtures)!r}, {settings!r}, {str(tmp_path / "out")!r}, {{1: limit}})
        assert result["micro_batches"] > 1, result["peak_memory"]
    """
    [(status, output)] = run(script)
    assert status == 0, output
