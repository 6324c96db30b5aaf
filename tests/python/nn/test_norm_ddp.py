"""Batch norm within the kernels under DistributedDataParallel: two processes, gloo."""

from __future__ import annotations

import socket
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from eccsnn.models import build_model
from eccsnn.models.spiking import SpikingModel

WORLD = 2


def network() -> SpikingModel:
    torch.manual_seed(0)
    model = build_model("spiking_vgg9", num_classes=4, width=0.125, image_size=16, timesteps=3)
    assert isinstance(model, SpikingModel)
    return model


def images(rank: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(6, 3, 16, 16, generator=generator), torch.randint(4, (6,), generator=generator)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def trained(rank: int, port: int, folder: str) -> None:
    """One process: two steps of a model under DDP, the second one after an update of the weights."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=WORLD)
    model = network()
    parallel = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, labels = images(rank)
    steps = []
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(parallel(x), labels).backward()
        steps.append(gradients(model))
        optimizer.step()
    torch.save({"gradients": steps, "state": model.state_dict()}, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def unfused(model: SpikingModel) -> SpikingModel:
    """The same network with separate batch norms: neurons leave a layer alone that somebody listens to."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(lambda *_: None)
    return model


def test_two_processes_average_the_gradients_of_their_own_batches(tmp_path):
    torch.multiprocessing.spawn(trained, args=(free_port(), str(tmp_path)), nprocs=WORLD)
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]

    models = [unfused(network()) for _ in range(WORLD)]
    for step in range(2):
        each = []
        for rank, model in enumerate(models):
            x, labels = images(rank)
            model.zero_grad()
            nn.functional.cross_entropy(model(x), labels).backward()
            each.append(gradients(model))
        for name in each[0]:
            mean = sum(g[name] for g in each) / WORLD
            assert mean.abs().max() > 0, name
            for result in results:
                torch.testing.assert_close(result["gradients"][step][name], mean, rtol=2e-3, atol=1e-5, msg=name)
        for model in models:
            with torch.no_grad():
                for name, p in model.named_parameters():
                    p -= 0.1 * sum(g[name] for g in each) / WORLD
    # Weights are shared; DDP hands the first process's running statistics to all at the start of every step.
    for name, value in models[0].state_dict().items():
        torch.testing.assert_close(results[0]["state"][name], value, rtol=2e-3, atol=1e-5, msg=name)
    for name, _ in models[0].named_parameters():
        assert torch.equal(results[0]["state"][name], results[1]["state"][name])


def test_converted_batch_norms_are_called_as_they_are():
    model, converted = network().eval(), nn.SyncBatchNorm.convert_sync_batchnorm(network()).eval()
    assert sum(isinstance(layer, nn.SyncBatchNorm) for layer in converted.modules()) == 7
    torch.testing.assert_close(converted(images(0)[0]), model(images(0)[0]))
