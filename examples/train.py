"""Train a small network, log checkpoints to a bucket, and go on from the last one when restarted.

    python examples/train.py s3://bucket/run-42 --steps 200 --every 20

Kill it whenever you like and start it again: the losses are those of a run that nobody disturbed.
It needs PyTorch: pip install 'ztensor-remote[torch]'.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

import ztensor_remote as zt


def make() -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return a network and its optimizer, always the same at first."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(16, 64), nn.Dropout(0.1), nn.Tanh(), nn.Linear(64, 1))
    return network, torch.optim.AdamW(network.parameters(), lr=1e-2)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a batch of a function that is to be learned."""
    inputs = torch.randn(64, 16)
    return inputs, inputs.sin().sum(dim=1, keepdim=True)


def state_of(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return all that the next step depends on, as tensors with names."""
    moments = {
        f"optimizer.{parameter}.{name}": value
        for parameter, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    return weights | moments | {"random": torch.get_rng_state()}


def restore(
    network: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Any]
) -> None:
    """Put everything back."""
    groups = optimizer.state_dict()["param_groups"]
    moments: dict[int, dict[str, torch.Tensor]] = {}
    weights = {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "network":
            weights[rest] = value
        elif kind == "optimizer":
            parameter, _, moment = rest.partition(".")
            moments.setdefault(int(parameter), {})[moment] = value
    network.load_state_dict(weights)
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    torch.set_rng_state(tensors["random"])


def train(log: zt.CheckpointLog, *, steps: int, every: int) -> None:
    """Train up to a number of steps, from where the log ends."""
    network, optimizer = make()
    done = 0
    if log.steps():
        with log.latest() as last:
            restore(network, optimizer, last.load(to="torch"))
            done = last.attributes["step"]
        print(f"resumed after step {done}", flush=True)
    for step in range(done + 1, steps + 1):
        inputs, wanted = batch()
        loss = nn.functional.mse_loss(network(inputs), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"{step} {loss.item():.9f}", flush=True)
        if step % every == 0:
            attributes = {"step": step, "loss": loss.item()}
            log.append(step, state_of(network, optimizer), attributes=attributes, wait=False)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("log", help="a folder for the checkpoints: a path or a URL")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--every", type=int, default=20, help="steps between two checkpoints")
    options = parser.parse_args()
    with zt.CheckpointLog(options.log) as log:
        train(log, steps=options.steps, every=options.every)


if __name__ == "__main__":
    main()
