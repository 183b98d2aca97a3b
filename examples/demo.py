#!/usr/bin/env python3
"""A tour: train a small transformer, stream it to a bucket, read parts of it, append to it.

    python3 examples/demo.py        (python3 dev.py demo installs what it needs first)

The S3 server is moto's, inside this process and on 127.0.0.1 only; nothing is left behind. What
each step costs is counted twice: by the library, and by the server. The two must agree.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

# Read when NumPy is imported. Several threads gain little on matrices of this size, and lose much
# where other programs want the cores.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import ml_dtypes
import numpy as np
from rich.console import Console
from rich.text import Text

import ztensor_remote as zt
from ztensor_remote.cli.describe import describe
from ztensor_remote.cli.render import print_info

URL = "s3://models/adder.zt"
LAYER = "layers.0.attn.q_proj.weight"
SLICED = "layers.0.mlp.up_proj.weight"
SPARSE = "layers.1.mlp.up_proj.weight"
QUANTIZED = "layers.1.mlp.down_proj.weight"
ROWS = slice(100, 110)

Array = np.ndarray[Any, np.dtype[Any]]
Weights = dict[str, Array]


class DemoError(Exception):
    """Something is not as the demo says."""


def main() -> int:
    """Run the tour; return the exit code."""
    try:
        with Bucket() as bucket:
            tour(bucket)
    except (DemoError, zt.ZTensorError) as error:
        print(f"demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def tour(bucket: Bucket) -> None:
    """Do what users do, and say what it cost."""
    say("bucket", f"an S3 server of our own at {bucket.url}, empty")
    adder = Adder()
    losses = adder.train()
    say("train", f"a transformer of {adder.size:,} weights learns to add two digits")
    say("", f"loss {losses[0]:.2f} → {losses[-1]:.2f} in {len(losses)} steps")

    with bucket.measured() as cost:
        write_model(adder.weights, bucket.options)
    size = bucket.size_of(URL)
    say("write", f"streamed to {URL} in parts, as it was made", cost)
    check(size <= cost.received < size * 1.01, "the upload sent more than the model")

    with bucket.measured() as cost:
        model = zt.open(URL, storage_options=bucket.options)
    say("open", "the end of the file has the list of tensors; no tensor is read", cost)
    check_stats(model, [cost])
    print()
    print_info(describe(model))
    print()

    with bucket.measured() as layer_cost:
        layer = model[LAYER].numpy()
    say("layer", f'model["{LAYER}"].numpy()', layer_cost)
    check_cost(layer_cost, requests=1, sent=layer.nbytes)
    with bucket.measured() as slice_cost:
        rows = model[SLICED][ROWS]
    say("slice", f'model["{SLICED}"][{ROWS.start}:{ROWS.stop}]', slice_cost)
    check_cost(slice_cost, requests=1, sent=rows.nbytes)
    check_stats(model, [cost, layer_cost, slice_cost])
    check(
        np.array_equal(layer, stored(LAYER, adder.weights[LAYER])),
        "the layer is not what was written",
    )
    check(np.array_equal(rows, adder.weights[SLICED][ROWS]), "nor is the slice")

    with bucket.measured() as cost:
        moments = append_checkpoint(adder, losses[-1], bucket.options)
    say("append", f"a checkpoint: step, loss, {len(moments)} moments of Adam", cost)
    say("", f"{cost.copied:,} bytes copied inside the store, not sent again")
    check(cost.copied == size, "the old bytes were not copied inside the store")
    check(cost.received < 1.02 * sum(moment.nbytes for moment in moments.values()), "sent again")
    check(bucket.size_of(URL) > size, "nothing was appended")

    verify(adder, moments, bucket)


def write_model(weights: Weights, options: dict[str, Any]) -> None:
    """Stream the model: dense tensors of two types, one compressed, one sparse, one in 4 bits."""
    with zt.Writer(URL, storage_options=options) as w:
        for name, weight in weights.items():
            if name == SPARSE:
                w.add_sparse_csr(name, *csr_arrays(weight), weight.shape)
            elif name == QUANTIZED:
                codes, scales = quantize(weight)
                about = {"shape": weight.shape, "bits": 4, "group_size": GROUP}
                w.add_quantized_group(name, codes, scales, packing="8_per_i32", **about)
            else:
                w.add_tensor(name, stored(name, weight), compress=name == "head.weight")
        w.attributes["task"] = "add two digits"
        w.attributes["license"] = "MIT"


def append_checkpoint(adder: Adder, loss: float, options: dict[str, Any]) -> Weights:
    """Add the optimizer's state to the same object; return what was added."""
    moments = {
        f"optimizer.{name}.{moment}": stored(name, values[name])
        for name in adder.weights
        if name.startswith("layers.0.attn.")
        for moment, values in (("exp_avg", adder.mean), ("exp_avg_sq", adder.square))
    }
    with zt.append(URL, storage_options=options) as w:
        for name, moment in moments.items():
            w.add_tensor(name, moment)
        w.attributes["step"] = adder.step
        w.attributes["loss"] = loss
    return moments


def verify(adder: Adder, moments: Weights, bucket: Bucket) -> None:
    """Open it once more; check every digest and every value, and let the model add."""
    with bucket.measured() as cost:
        model = zt.open(URL, storage_options=bucket.options)
        verified = model.verify()
    check(verified.undigested == 0, "a tensor has no digest")
    check(model.attributes["step"] == adder.step, "the checkpoint has another step")
    for name, moment in moments.items():
        check(np.array_equal(model[name], moment), f"{name} differs")
    weights = {name: load(model, name) for name in adder.weights}
    for name, weight in weights.items():
        check(np.array_equal(weight, as_read(name, adder.weights[name])), f"{name} differs")
    right = adder.count_right(weights)
    check(right > 0.9 * len(PAIRS), f"only {right} of {len(PAIRS)} sums are right")
    say("verify", f"{verified.checked} digests match, and every value is as it was written", cost)
    say("", f"the model that came back gets {right} of {len(PAIRS)} sums right")


# --- how a weight is stored ---------------------------------------------------------------------

GROUP = 64


def stored(name: str, weight: Array) -> Array:
    """Return a dense weight as it lies in the file: attention in bfloat16, the rest in float32."""
    return weight.astype(ml_dtypes.bfloat16) if ".attn." in name else weight


def as_read(name: str, weight: Array) -> Array:
    """Return what a weight must come back as."""
    if name == QUANTIZED:
        return dequantize(*quantize(weight), weight.shape)
    return stored(name, weight).astype(np.float32)


def load(model: zt.Reader, name: str) -> Array:
    """Read a weight, whatever its layout."""
    if name != QUANTIZED:
        return model[name].numpy().astype(np.float32)
    parts = model[name].components
    return dequantize(parts["packed_weight"].numpy(), parts["scales"].numpy(), model[name].shape)


def csr_arrays(matrix: Array) -> tuple[Array, Array, Array]:
    """Return values, column indices and row pointers."""
    rows, columns = np.nonzero(matrix)
    pointers = np.searchsorted(rows, np.arange(len(matrix) + 1))
    return matrix[rows, columns], columns, pointers


def quantize(weight: Array) -> tuple[Array, Array]:
    """Return 4-bit codes, eight to a word, and a scale for each group of 64."""
    groups = weight.reshape(-1, GROUP)
    scales = np.abs(groups).max(axis=1) / 7
    codes = (np.rint(groups / scales[:, None]) + 8).astype(np.uint32).reshape(-1, 8)
    words = np.bitwise_or.reduce(codes << np.arange(0, 32, 4, dtype=np.uint32), axis=1)
    return words.view(np.int32), scales


def dequantize(words: Array, scales: Array, shape: tuple[int, ...]) -> Array:
    """Undo `quantize`, up to half a step."""
    codes = words.view(np.uint32)[:, None] >> np.arange(0, 32, 4, dtype=np.uint32) & 15
    return ((codes.astype(np.float32) - 8).reshape(-1, GROUP) * scales[:, None]).reshape(shape)


# --- the model ----------------------------------------------------------------------------------

WIDTH, LAYERS, STEPS, RATE = 416, 2, 20, 1.5e-3
PAIRS = np.array([(a, b) for a in range(10) for b in range(10)])
SUMS = PAIRS.sum(axis=1)


class Adder:
    """A transformer in NumPy that is trained to add two digits."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)

        def matrix(rows: int, columns: int) -> Array:
            return random.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)

        self.weights: Weights = {"embed.weight": matrix(10, WIDTH)}
        for layer in range(LAYERS):
            for name in "qkvo":
                self.weights[f"layers.{layer}.attn.{name}_proj.weight"] = matrix(WIDTH, WIDTH)
            self.weights[f"layers.{layer}.mlp.up_proj.weight"] = matrix(4 * WIDTH, WIDTH)
            self.weights[f"layers.{layer}.mlp.down_proj.weight"] = matrix(WIDTH, 4 * WIDTH)
        self.weights["head.weight"] = matrix(19, WIDTH)
        self.mask = random.random(self.weights[SPARSE].shape) < 0.1
        self.weights[SPARSE] *= self.mask
        self.mean = {name: np.zeros_like(weight) for name, weight in self.weights.items()}
        self.square = {name: np.zeros_like(weight) for name, weight in self.weights.items()}
        self.step = 0

    @property
    def size(self) -> int:
        """How many weights there are."""
        return sum(weight.size for weight in self.weights.values())

    def train(self) -> list[float]:
        """Take some steps of Adam on all pairs; return the loss before each."""
        return [self._step() for _ in range(STEPS)]

    def count_right(self, weights: Weights) -> int:
        """Return for how many pairs the model with these weights says the sum."""
        logits, _, _ = forward(weights)
        return int((logits.argmax(axis=1) == SUMS).sum())

    def _step(self) -> float:
        logits, pooled, tape = forward(self.weights)
        chances = softmax(logits)
        rows = np.arange(len(PAIRS))
        loss = -np.log(chances[rows, SUMS]).mean()
        chances[rows, SUMS] -= 1
        gradients = backward(self.weights, chances / len(PAIRS), pooled, tape)
        gradients[SPARSE] *= self.mask
        rate = RATE * (1 - self.step / STEPS)
        self.step += 1
        for name, gradient in gradients.items():
            self.mean[name] += 0.1 * (gradient - self.mean[name])
            self.square[name] += 0.001 * (gradient**2 - self.square[name])
            mean = self.mean[name] / (1 - 0.9**self.step)
            deviation = np.sqrt(self.square[name] / (1 - 0.999**self.step))
            self.weights[name] -= rate * mean / (deviation + 1e-8)
        return float(loss)


def forward(w: Weights) -> tuple[Array, Array, list[tuple[Array, ...]]]:
    """Return the logits of all pairs, the pooled state, and what `backward` needs."""
    x: Array = w["embed.weight"][PAIRS]
    tape: list[tuple[Array, ...]] = []
    for layer in range(LAYERS):
        wq, wk, wv, wo, up, down = matrices(w, layer)
        q, k, v = times(x, wq.T), times(x, wk.T), times(x, wv.T)
        weights = softmax(q @ k.swapaxes(1, 2) / WIDTH**0.5)
        mixed = weights @ v
        y = x + times(mixed, wo.T)
        hidden = np.maximum(times(y, up.T), 0)
        tape.append((x, q, k, v, weights, mixed, y, hidden))
        x = y + times(hidden, down.T)
    pooled = x.mean(axis=1)
    return pooled @ w["head.weight"].T, pooled, tape


def backward(w: Weights, dlogits: Array, pooled: Array, tape: list[tuple[Array, ...]]) -> Weights:
    """Return the gradient of each weight."""
    gradients = {"head.weight": dlogits.T @ pooled}
    dx = np.repeat((dlogits @ w["head.weight"])[:, None] / 2, 2, axis=1)
    for layer in reversed(range(LAYERS)):
        wq, wk, wv, wo, up, down = matrices(w, layer)
        x, q, k, v, weights, mixed, y, hidden = tape[layer]
        dhidden = times(dx, down) * (hidden > 0)
        dy = dx + times(dhidden, up)
        dmixed = times(dy, wo)
        dweights = dmixed @ v.swapaxes(1, 2)
        dscores = weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))
        dscores /= WIDTH**0.5
        dq, dk, dv = dscores @ k, dscores.swapaxes(1, 2) @ q, weights.swapaxes(1, 2) @ dmixed
        factors = [(dq, x), (dk, x), (dv, x), (dy, mixed), (dhidden, y), (dx, hidden)]
        for name, (left, right) in zip(names(layer), factors, strict=True):
            gradients[name] = flat(left).T @ flat(right)
        dx = dy + times(dq, wq) + times(dk, wk) + times(dv, wv)
    gradients["embed.weight"] = np.zeros_like(w["embed.weight"])
    np.add.at(gradients["embed.weight"], PAIRS, dx)
    return gradients


def flat(states: Array) -> Array:
    """Return the states of all positions of all pairs, one a row."""
    return states.reshape(-1, states.shape[-1])


def times(states: Array, matrix: Array) -> Array:
    """Multiply each state, all in one product: NumPy would do one for each pair."""
    return (flat(states) @ matrix).reshape(*states.shape[:-1], -1)


def names(layer: int) -> list[str]:
    """Return the names of a layer's weights."""
    kinds = ("attn.q", "attn.k", "attn.v", "attn.o", "mlp.up", "mlp.down")
    return [f"layers.{layer}.{kind}_proj.weight" for kind in kinds]


def matrices(w: Weights, layer: int) -> list[Array]:
    """Return a layer's weights."""
    return [w[name] for name in names(layer)]


def softmax(x: Array) -> Array:
    """Return the softmax over the last axis."""
    raised: Array = np.exp(x - x.max(axis=-1, keepdims=True))
    raised /= raised.sum(axis=-1, keepdims=True)
    return raised


# --- the bucket, and what it sees ---------------------------------------------------------------


@dataclass
class Cost:
    """What the server saw during one step: bytes of bodies, its own copies apart."""

    requests: list[str] = field(default_factory=list)
    received: int = 0
    sent: int = 0
    copied: int = 0

    def __str__(self) -> str:
        count = len(self.requests)
        told = [f"{count} request{'' if count == 1 else 's'}"]
        told += [f"{self.received:,} bytes up"] if self.received else []
        told += [f"{self.sent:,} bytes down"] if self.sent else []
        return ", ".join(told)


class Bucket:
    """An S3 server with one bucket, running from the start of a ``with`` block to its end."""

    def __enter__(self) -> Bucket:
        isolate_from_the_account()
        try:
            from moto.moto_server.werkzeug_app import (
                DomainDispatcherApplication,
                create_backend_app,
            )
        except ImportError:
            raise DemoError("it needs moto: pip install 'ztensor-remote[test]'") from None
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._costs: list[Cost] = []
        self._serve_s3 = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.options = {"key": "demo", "secret": "demo", "endpoint_url": self.url}
        self._filesystem().call_s3("create_bucket", Bucket="models")
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _filesystem(self) -> Any:
        import fsspec

        return fsspec.filesystem("s3", **self.options)

    def size_of(self, url: str) -> int:
        """Return how large an object is."""
        self._filesystem().invalidate_cache()
        return int(self._filesystem().size(url))

    @contextmanager
    def measured(self) -> Iterator[Cost]:
        """Count what the server sees until the block ends."""
        cost = Cost()
        self._costs.append(cost)
        try:
            yield cost
        finally:
            self._costs.remove(cost)

    def _serve(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Let moto answer; count the request before its answer goes out."""
        body = b"".join(self._serve_s3(environ, start))
        first, _, last = environ.get("HTTP_X_AMZ_COPY_SOURCE_RANGE", "bytes=0--1")[6:].partition(
            "-"
        )
        for cost in self._costs:
            cost.requests.append(environ["REQUEST_METHOD"])
            cost.received += int(environ.get("CONTENT_LENGTH") or 0)
            cost.sent += len(body)
            cost.copied += int(last) + 1 - int(first)
        return [body]


def isolate_from_the_account() -> None:
    """Keep the caller's AWS account and proxies out of this."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1"


# --- what is said and checked -------------------------------------------------------------------


def say(step: str, text: str, cost: Cost | None = None) -> None:
    """Print what was done, and what it cost."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text.assemble((f"{step:<8}", "bold cyan"), text))
    if cost is not None:
        console.print(Text.assemble(" " * 8, (str(cost), "green")))


def check(holds: bool, otherwise: str) -> None:
    """Stop where something is not as it must be."""
    if not holds:
        raise DemoError(otherwise)


def check_cost(cost: Cost, *, requests: int, sent: int) -> None:
    """Compare what the server saw with what it must have."""
    check(len(cost.requests) == requests, f"{len(cost.requests)} requests instead of {requests}")
    check(cost.sent == sent, f"{cost.sent} bytes came instead of {sent}")


def check_stats(model: zt.Reader, costs: list[Cost]) -> None:
    """Compare what the reader says of itself with what the server saw."""
    seen = sum(len(cost.requests) for cost in costs), sum(cost.sent for cost in costs)
    told = model.stats.requests, model.stats.bytes
    check(seen == told, f"the server saw {seen} requests and bytes, the reader says {told}")


if __name__ == "__main__":
    sys.exit(main())
