"""Modules filled from files: into their own memory, checked before anything is fetched."""

from __future__ import annotations

from typing import Any

import pytest

import ztensor_remote as zt
from tests.reader.models import MEMORY, written

torch = pytest.importorskip("torch")
nn = torch.nn

from ztensor_remote.integrations import staging  # noqa: E402
from ztensor_remote.torch import load_state_dict, shard, shard_index  # noqa: E402

pytestmark = pytest.mark.torch


def stored(state: dict[str, Any], **options: Any) -> str:
    """Write tensors where they have to be fetched."""

    def add(writer: zt.Writer) -> None:
        for name, tensor in state.items():
            writer.add_tensor(name, tensor)

    return written(add, **options)


class Net(nn.Module):
    """Parameters, buffers, and of several dtypes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 4)
        self.norm = nn.BatchNorm1d(4)
        self.brief = nn.Parameter(torch.randn(3, 5).bfloat16())
        self.waves = nn.Parameter(torch.randn(3, dtype=torch.complex64))
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("small", torch.randn(4).to(torch.float8_e4m3fn))
        self.register_buffer("scalar", torch.tensor(3.5))
        self.register_buffer("empty", torch.zeros(0, 4))


def alike(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and x.dtype == y.dtype and bits(x) == bits(y) for (a, x), (b, y) in pairs)


def bits(tensor: Any) -> bytes:
    return bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())


def other_net() -> Net:
    net = Net()
    net.mask.zero_()
    return net


@pytest.fixture(scope="module")
def net() -> Net:
    return Net()


@pytest.fixture(scope="module", params=[{}, {"compress": True}], ids=["raw", "zstd"])
def url(request: pytest.FixtureRequest, net: Net) -> str:
    return stored(net.state_dict(), **request.param)


def test_fills_the_memory_that_is_there(net: Net, url: str) -> None:
    model = other_net()
    places = {name: value.data_ptr() for name, value in model.state_dict().items()}
    assert load_state_dict(model, url) == ([], [])
    assert alike(model, net)
    assert places == {name: value.data_ptr() for name, value in model.state_dict().items()}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_the_file_does_not_hold_contiguously(net: Net, url: str) -> None:
    model = other_net()
    model.brief = nn.Parameter(torch.empty(5, 3, dtype=torch.bfloat16).t())
    model.waves = nn.Parameter(torch.zeros(6, dtype=torch.complex64)[::2])
    load_state_dict(model, url)
    assert alike(model, net)
    assert not model.brief.is_contiguous()


@pytest.mark.parametrize("options", [{}, {"compress": True}, {"checksum": "sha256"}], ids=str)
def test_large_ones_are_staged_piece_by_piece(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(staging, "_STAGE", 256)
    original = nn.ParameterDict(
        {
            "rows": torch.randn(100, 7),
            "wide": torch.randn(2, 3, 90),
            "flat": torch.randn(1000),
            "small": torch.randn(3, 3),
        }
    )
    strided = nn.ParameterDict(
        {
            name: torch.zeros(*shape.shape[:-1], 2 * shape.shape[-1])[..., ::2]
            for name, shape in original.items()
        }
    )
    load_state_dict(strided, stored(original.state_dict(), **options))
    assert alike(strided, original)


def test_pieces_are_compared_with_the_digest_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(staging, "_STAGE", 256)
    url = stored({"w": torch.ones(100, 7)})
    data = bytearray(MEMORY.cat_file(url))
    with zt.open(url) as reader:
        data[reader["w"].components["data"].offset + 1500] ^= 1
    MEMORY.pipe_file(url, bytes(data))
    model = nn.ParameterDict({"w": torch.zeros(100, 14)[:, ::2]})
    with pytest.raises(zt.DigestError, match="tensor 'w'"):
        load_state_dict(model, url)
    load_state_dict(model, url, verify=False)
    assert int((model["w"] != 1).sum()) == 1


class TestMeta:
    def test_is_filled_by_assignment(self, net: Net, url: str) -> None:
        with torch.device("meta"):
            model = Net()
        load_state_dict(model, url, assign=True)
        assert alike(model, net)
        assert isinstance(model.brief, nn.Parameter)
        assert model.brief.requires_grad

    def test_takes_the_dtype_of_the_file(self) -> None:
        model = nn.Linear(2, 2)
        weights = {name: value.bfloat16() for name, value in model.state_dict().items()}
        load_state_dict(model, stored(weights), assign=True)
        assert model.weight.dtype == torch.bfloat16

    def test_a_frozen_parameter_stays_frozen(self) -> None:
        model = nn.Linear(2, 2).requires_grad_(False)
        load_state_dict(model, stored(model.state_dict()), assign=True)
        assert not model.weight.requires_grad

    def test_other_devices_are_filled_through_buffers(self, net: Net, url: str) -> None:
        model = Net()
        load_state_dict(model, url, assign=True, device="meta")  # the one that is always there
        assert all(value.is_meta for value in model.state_dict().values())


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


class TestTiedParameters:
    @pytest.mark.parametrize("names", [["embed.weight"], ["head.weight"]])
    @pytest.mark.parametrize("device", ["cpu", "meta"])
    def test_need_one_tensor(self, names: list[str], device: str) -> None:
        values = torch.arange(15.0).reshape(5, 3)
        with torch.device(device):
            model = Tied()
        load_state_dict(model, stored(dict.fromkeys(names, values)), assign=device == "meta")
        assert torch.equal(model.embed.weight, values)
        assert model.head.weight is model.embed.weight

    def test_are_read_once(self) -> None:
        values = {"embed.weight": torch.ones(5, 3), "head.weight": torch.zeros(5, 3)}
        model = Tied()
        with zt.open(stored(values)) as reader:
            before = reader.stats.bytes
            load_state_dict(model, reader)
            assert reader.stats.bytes - before == 60
        torch_model = Tied()
        torch_model.load_state_dict(values)
        assert torch.equal(model.embed.weight, torch_model.embed.weight)


class TestNames:
    def test_prefix(self) -> None:
        layer = nn.Linear(2, 3)
        state = {f"layers.3.{name}": value for name, value in layer.state_dict().items()}
        model = nn.Linear(2, 3)
        load_state_dict(model, stored(state | {"other": torch.zeros(1)}), prefix="layers.3.")
        assert alike(model, layer)

    @pytest.mark.parametrize("how", [{"w": "weight", "junk": None}, "callable"])
    def test_map(self, how: Any) -> None:
        renaming = {"w": "weight", "junk": None}
        state = {"w": torch.ones(3, 2), "bias": torch.ones(3), "junk": torch.zeros(9)}
        model = nn.Linear(2, 3)
        load_state_dict(
            model, stored(state), map=how if how != "callable" else lambda n: renaming.get(n, n)
        )
        assert bool((model.weight == 1).all())
        assert bool((model.bias == 1).all())

    def test_not_strict(self) -> None:
        model = nn.Linear(2, 3)
        bias = model.bias.detach().clone()
        keys = load_state_dict(
            model, stored({"weight": torch.ones(3, 2), "more": torch.ones(1)}), strict=False
        )
        assert keys == (["bias"], ["more"])
        assert bool((model.weight == 1).all())
        assert torch.equal(model.bias, bias)


class TestErrors:
    def test_come_all_at_once_before_anything_is_fetched(self, net: Net) -> None:
        state = net.state_dict() | {"brief": torch.zeros(3, 5), "extra": torch.zeros(2)}
        state |= {"first.weight": torch.zeros(6, 4)}
        del state["first.bias"]
        model = Net()
        before = {name: bits(value) for name, value in model.state_dict().items()}
        with zt.open(stored(state)) as reader:
            cost = reader.stats.bytes
            with pytest.raises(zt.StateDictError) as caught:
                load_state_dict(model, reader)
            assert reader.stats.bytes == cost
        text = str(caught.value)
        assert "missing from the file: first.bias" in text
        assert "not in the module: extra" in text
        assert "first.weight: the module has shape (4, 6), the file (6, 4)" in text
        assert "brief: the module has torch.bfloat16, the file torch.float32" in text
        assert isinstance(caught.value, RuntimeError)
        assert before == {name: bits(value) for name, value in model.state_dict().items()}

    def test_a_meta_module_that_is_not_to_be_assigned(self) -> None:
        with torch.device("meta"):
            model = nn.Linear(1, 1)
        url = stored({"weight": torch.ones(1, 1), "bias": torch.ones(1)})
        with pytest.raises(zt.StateDictError, match="meta device; pass assign=True"):
            load_state_dict(model, url)

    def test_integers_for_what_wants_a_gradient(self) -> None:
        url = stored({"weight": torch.ones(1, 1, dtype=torch.int8), "bias": torch.ones(1)})
        with pytest.raises(zt.StateDictError, match="which has no gradient"):
            load_state_dict(nn.Linear(1, 1), url, assign=True)

    def test_a_device_without_assignment(self) -> None:
        url = stored({"weight": torch.ones(1, 1), "bias": torch.ones(1)})
        with pytest.raises(zt.StateDictError, match="device= needs assign=True"):
            load_state_dict(nn.Linear(1, 1), url, device="meta")

    def test_two_names_for_one_key(self) -> None:
        url = stored({"a": torch.ones(1), "b": torch.ones(1)})
        with pytest.raises(zt.StateDictError, match="a and b both go to w"):
            load_state_dict(nn.Linear(1, 1), url, map={"a": "w", "b": "w"})

    def test_options_for_an_open_reader(self) -> None:
        with (
            zt.open(stored({"a": torch.ones(1)})) as reader,
            pytest.raises(zt.InvalidInputError, match="verify come too late"),
        ):
            load_state_dict(nn.Linear(1, 1), reader, verify=False)


class TestShard:
    @pytest.mark.parametrize("world", [1, 2, 3, 4, 9])
    @pytest.mark.parametrize("dim", [0, 1, -1])
    def test_parts_are_those_of_chunk(self, dim: int, world: int) -> None:
        values = torch.arange(7 * 5 * 2).reshape(7, 5, 2).bfloat16()
        with zt.open(stored({"w": values})) as reader:
            parts = [shard(reader["w"], dim, rank, world) for rank in range(world)]
        chunks = values.chunk(world, dim)
        assert all(torch.equal(part, chunk) for part, chunk in zip(parts, chunks, strict=False))
        assert sum(part.shape[dim] for part in parts) == values.shape[dim]
        assert all(part.dtype == values.dtype and part.is_contiguous() for part in parts)

    def test_reads_no_other_bytes(self) -> None:
        with zt.open(stored({"w": torch.zeros(8, 1000)})) as reader:
            before = reader.stats.bytes
            shard(reader["w"], 0, 1, 4)
            assert reader.stats.bytes - before == 2 * 4000

    @pytest.mark.parametrize(
        ("dim", "rank", "world"), [(2, 0, 1), (-3, 0, 1), (0, 2, 2), (0, -1, 2)]
    )
    def test_what_there_is_not(self, dim: int, rank: int, world: int) -> None:
        with pytest.raises(zt.InvalidInputError, match=r"no (dimension|rank)"):
            shard_index((3, 3), dim, rank, world)
