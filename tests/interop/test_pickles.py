"""Pickles: what they hold is read, and nothing of them is ever executed."""

from __future__ import annotations

import builtins
import collections
import io
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ztensor_remote as zt
from tests.stores.backends import MakeBackend, Through

ARRAYS = {
    "plain": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "turned": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
    "big": np.arange(5, dtype=">i8"),
    "bytes": np.arange(256, dtype=np.uint8),
    "bools": np.array([True, False, True]),
    "complex": np.array([1 + 2j, 3 - 1j]),
    "nothing": np.zeros((0, 3), np.float16),
    "scalar": np.array(7, np.uint32),
    "bf16": np.arange(4).astype(ml_dtypes.bfloat16),
    "f8": np.arange(4).astype(ml_dtypes.float8_e5m2),
}
VALUES = {
    "epoch": 3,
    "loss": 0.25,
    "done": False,
    "nothing": None,
    "text": "grüß\n\u1234",
    "raw": b"\x00\xff'",
    "list": [1, -(1 << 40), (2.5, "x")],
    "config": {"lr": 1e-3, "betas": (0.9, 0.999), 7: {"deep": []}},
    "set": {1},
    "number": np.float32(0.5),
    "flag": np.bool_(True),
    "counted": collections.Counter("a"),
}
READ = {
    **{key: VALUES[key] for key in ("epoch", "loss", "done", "nothing", "text", "raw")},
    "list": [1, -(1 << 40), [2.5, "x"]],
    "config": {"lr": 1e-3, "betas": [0.9, 0.999], "7": {"deep": []}},
    "set": [1],
    "number": 0.5,
    "flag": True,
    "counted": {"a": 1},
}
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def opened(data: bytes) -> zt.Reader:
    return zt.open(data, format="pickle")


class TestWhatPythonWrites:
    @pytest.mark.parametrize("protocol", PROTOCOLS[1:])
    def test_arrays(self, protocol: int) -> None:
        with opened(pickle.dumps({"deep": ARRAYS}, protocol)) as file:
            assert file.version == "pickle"
            assert list(file) == [f"deep.{name}" for name in ARRAYS]
            for name, array in ARRAYS.items():
                tensor = file[f"deep.{name}"]
                assert tensor.dtype == array.dtype.newbyteorder("=") or name in ("bf16", "f8")
                np.testing.assert_array_equal(tensor.numpy(), array)
                if array.ndim:
                    np.testing.assert_array_equal(tensor[1:], array[1:])
            for name, array in file.load().items():
                np.testing.assert_array_equal(array, ARRAYS[name.removeprefix("deep.")])

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_plain_values_are_attributes(self, protocol: int) -> None:
        with opened(pickle.dumps(VALUES, protocol)) as file:
            assert not len(file) and dict(file.attributes) == READ

    def test_what_escapes_is_listed_and_refused(self) -> None:
        with opened(pickle.dumps(ARRAYS, 0)) as file:
            assert file["plain"].shape == (2, 3, 4)
            with pytest.raises(zt.UnsupportedError, match=r"pickle\.escaped.*tensor 'big'"):
                file["big"].numpy()

    def test_what_attributes_cant_hold_is_named(self) -> None:
        value = {"a": 1j, "b": {"c": 1 << 70, "d": 1, (1, 2): 3}, None: 1, "e": "\ud800"}
        with opened(pickle.dumps(value)) as file:
            assert dict(file.attributes) == {
                "b": {"d": 1},
                "pickle.left_out": ["a", "b.c", "b.(tuple)", "(NoneType)", "e"],
            }

    def test_lists_and_numbers_make_names(self) -> None:
        with opened(pickle.dumps([np.ones(2), {3: [np.zeros(1), "x"]}])) as file:
            assert list(file) == ["0", "1.3.0"] and file.attributes["1.3.1"] == "x"

    def test_an_array_alone(self) -> None:
        with opened(pickle.dumps(ARRAYS["plain"])) as file:
            np.testing.assert_array_equal(file["data"].numpy(), ARRAYS["plain"])

    def test_shared_arrays_share_their_bytes(self) -> None:
        array = np.ones(100)
        with opened(pickle.dumps({"a": array, "b": [array]})) as file:
            assert file.manifest.stored_bytes == array.nbytes

    def test_python_2(self) -> None:
        """As Python 2.7 with NumPy wrote {'w': np.arange(2, dtype='f4'), u'n': 1L}."""
        data = (
            b"\x80\x02}q\x01(U\x01wq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\n"
            b"q\x04K\x00\x85U\x01b\x87Rq\x05(K\x01K\x02\x85cnumpy\ndtype\nq\x06U\x02f4K\x00K\x01\x87"
            b"Rq\x07(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08"
            + np.arange(2, dtype="<f4").tobytes()
            + b"tbX\x01\x00\x00\x00n\x8a\x01\x01u."
        )
        with opened(data) as file:
            np.testing.assert_array_equal(file["w"].numpy(), np.arange(2, dtype=np.float32))
            assert file.attributes["n"] == 1

    def test_python_2_in_text(self) -> None:
        data = b"(dp0\nS'a\\x41'\np1\nI01\nsS'b'\np2\n(lp3\nL12L\naF1.5\nas."
        with opened(data) as file:
            assert dict(file.attributes) == {"aA": True, "b": [12, 1.5]}

    @settings(max_examples=40, deadline=None)
    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(1 << 64), (1 << 64) - 1)
            | st.floats(allow_nan=False)
            | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
            | st.binary(max_size=5),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc"), inner),
            max_leaves=20,
        ),
        st.sampled_from(PROTOCOLS),
    )
    def test_any_plain_value(self, value: Any, protocol: int) -> None:
        with opened(pickle.dumps({"value": value}, protocol)) as file:
            assert dict(file.attributes) == {"value": value}


class Calling:
    """Pickles as a call of something."""

    def __init__(self, called: Any, *arguments: Any, state: Any = None) -> None:
        self.made = (called, arguments) if state is None else (called, arguments, state)

    def __reduce__(self) -> Any:
        return self.made


ALL_CALLS = {
    "posix.system": Calling(os.system, "touch executed"),
    "builtins.eval": Calling(eval, "open('executed', 'w')"),
    "builtins.exec": Calling(exec, "open('executed', 'w')"),
    "io.open": Calling(io.open, "executed", "w"),
    "builtins.getattr": Calling(getattr, Calling(collections.OrderedDict), "pop"),
    "builtins.__import__": Calling(builtins.__import__, "antigravity"),
    "operator.attrgetter": Calling(__import__("operator").attrgetter, "system"),
    "pickle.loads": Calling(pickle._loads, b"cos\nsystem\n."),  # type: ignore[attr-defined]
    "tests.interop.test_pickles.Calling": Calling(Calling, 1, state={"made": 2}),
}


def named(module: str, name: str) -> bytes:
    """Return opcodes that name something by STACK_GLOBAL."""
    return (
        b"".join(struct.pack("<cB", b"\x8c", len(t)) + t.encode() for t in (module, name)) + b"\x93"
    )


TOUCH = b"\x8c\x0etouch executed"
BY_HAND = {
    "'posix.system'": b"cposix\nsystem\n(S'touch executed'\ntR.",
    "'os.system'": b"(S'touch executed'\nios\nsystem\n.",
    "'nt.system'": b"(cnt\nsystem\n" + TOUCH + b"o.",
    "'subprocess.Popen'": named("subprocess", "Popen") + TOUCH + b"\x85R.",
    "'collections.OrderedDict.fromkeys'": named("collections", "OrderedDict.fromkeys") + b")R.",
    "'builtins.object'": named("builtins", "object") + b")\x81}(\x8c\x01xK\x01ub.",
    "'torch.jit.load'": b"\x80\x02ctorch.jit\nload\n.",
    "'numpy.load'": b"\x80\x02cnumpy\nload\n.",
    "numpy.dtype.*O.*": named("numpy", "dtype") + b"\x8c\x01O\x85R.",
    "numpy.dtype.*a8.*": named("numpy", "dtype") + b"\x8c\x02a8\x85R.",  # NumPy warns of it
    "an array of a class of its own": named("numpy._core.multiarray", "_reconstruct")
    + named("numpy", "dtype")
    + b"K\x00\x85C\x01b\x87R.",
    "the extension code 7": b"\x82\x07.",
    "the extension code 258": b"\x83\x02\x01.",
    "the extension code 1": b"\x84\x01\x00\x00\x00.",
    "a persistent id": b"K\x01Q.",
    "a buffer outside": b"\x97.",
    "a call of str": TOUCH + b")R.",
    "a call of dict": b"})R.",
    "a call of numpy.ndarray": named("numpy", "ndarray") + b")R.",
    "a list whose state is set": b"]}b.",
    "a numpy.ndarray whose state is set": named("numpy", "ndarray") + b"}b.",
    "a int that is appended to": b"K\x01K\x02a.",
    "a list whose items are set": b"]K\x01K\x02s.",
    "with keywords": named("collections", "OrderedDict") + b")}K\x01K\x02s\x92.",
    "_codecs.encode of anything but bytes": named("_codecs", "encode")
    + b"\x8c\x01a\x8c\x03hex\x86R.",
}


@pytest.fixture
def nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Check that no file appeared."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("nothing_runs")
class TestMalice:
    @pytest.mark.parametrize("protocol", PROTOCOLS[2:])
    @pytest.mark.parametrize("name", ALL_CALLS)
    def test_calls_are_refused_by_name(self, name: str, protocol: int) -> None:
        bad = ALL_CALLS[name]
        for value in (
            bad,
            {"w": np.ones(2), "x": [bad]},
            {"o": Calling(collections.OrderedDict, [[1, bad]])},
        ):
            written = pickle.dumps(value, protocol).replace(b"_loads", b"loads")
            written = written.replace(b"\x8c\x06loads", b"\x8c\x05loads")
            with pytest.raises(zt.UnsupportedError) as caught:
                opened(written)
            text = str(caught.value).replace("__builtin__", "builtins")
            assert f"'{name}' is no tensor and no plain value; nothing was executed" in text

    @pytest.mark.parametrize("name", BY_HAND)
    def test_opcodes_are_refused_by_name(self, name: str) -> None:
        with pytest.raises(zt.UnsupportedError, match=f"{name}.*nothing was executed"):
            opened(BY_HAND[name])

    def test_names_are_shown_without_control_characters(self) -> None:
        with pytest.raises(zt.UnsupportedError) as caught:
            opened(named("\x1b[2J" + "x" * 200, "y"))
        assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 400

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "cut off"),
            (b"\x80\x04", "cut off"),
            (b"\x80\x04]", "cut off"),
            (b"\xff.", "opcode 0xff at 0"),
            (b".", "from its stack"),
            (b"e.", "mark is missing"),
            (b"(K\x01d.", "a key has no value"),
            (b"\x85.", "from its stack"),
            (b"h\x05.", "nothing was kept under 5"),
            (b"]p-1\n.", "memo is out of range"),
            (b"Ix\n.", "'x' is no number"),
            (b"Fx\n.", "a number is none"),
            (b"Sx\n.", "not quoted"),
            (b"S'\\x'\n.", "the string at 1"),
            (b"X\x01\0\0\0\xff.", "the text at 5"),
            (b"X\xff\xff\xff\x7f", "cut off"),
            (b"\x8e" + b"\xff" * 8, "cut off"),
            (b"K\x01K\x02\x93.", "a name is no text"),
            (named("collections", "OrderedDict") + b"]R.", "are no tuple"),
            (named("collections", "OrderedDict") + b"K\x01\x85R.", "something else than its items"),
            (named("builtins", "complex") + b"\x8c\x01a\x85R.", "complex"),
            (named("builtins", "bytes") + b"J\0\0\0\x7f\x85R.", "something else than bytes"),
            (named("builtins", "set") + b"K\x01\x85R.", "something else than its items"),
            (
                named("_codecs", "encode") + b"\x8c\x03\xe1\x88\xb4\x8c\x06latin1\x86R.",
                "other char",
            ),
        ],
    )
    def test_what_is_damaged_is_told(self, data: bytes, message: str) -> None:
        with pytest.raises(zt.FormatError, match=message):
            opened(data)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"]" + b"\x85" * 100_000 + b".", "nested deeper"),
            (b"}\x8c\x01a]" + b"\x85" * 100_000 + b"s.", "nested deeper"),
            (b"\x80\x06.", "protocol 6"),
            (b"I" + b"9" * 5000 + b"\n.", "5000 digits"),
            (b"\x8b\xff\xff\xff\x7f", "a number of 2147483647 bytes"),
            (b"]q\x00h\x00a.", "holds a list"),
            (pickle.dumps({"a": 1}) + pickle.dumps({"b": 1}), "more than one"),
            (pickle.dumps({(1, 2): np.ones(2)}), "has a tuple as its key"),
        ],
    )
    def test_what_goes_too_far_is_told(self, data: bytes, message: str) -> None:
        with pytest.raises((zt.UnsupportedError, zt.LimitError, zt.FormatError), match=message):
            opened(data)

    def test_a_huge_memo_is_none(self) -> None:
        with opened(b"}r\xff\xff\xff\xff\x8c\x01aK\x01s.") as file:
            assert file.attributes["a"] == 1

    def test_sharing_does_not_explode(self) -> None:
        """Ten references to a list of ten references to a list, and so on."""
        level: Any = [np.ones(1)]
        for _ in range(20):
            level = [level] * 10
        with pytest.raises(zt.LimitError, match="too many"):
            opened(pickle.dumps({"a": level}))
        plain: Any = ["x" * 1000]
        for _ in range(15):
            plain = [plain] * 10
        with pytest.raises(zt.LimitError, match="too many"):
            opened(pickle.dumps({"a": plain}))

    def test_calls_pay_for_what_they_copy(self) -> None:
        made = named("builtins", "set") + b"\x94" + b"(" + b"K\x01" * 100_000 + b"l\x94"
        with pytest.raises(zt.LimitError, match="steps"):
            opened(made + b"h\x00h\x01\x85R0" * 1000 + b".")

    def test_two_of_one_name(self) -> None:
        for value in (
            {"a": {"b": np.ones(1)}, "a.b": np.ones(1)},
            {1: np.ones(1), "1": np.ones(2)},
        ):
            with pytest.raises(zt.FormatError, match=r"two things in it are named '(a\.b|1)'"):
                opened(pickle.dumps(value))

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda data: data.replace(b"K\x05\x85", b"K\x06\x85"),
            lambda data: data.replace(b"\x85", b"\x86", 1),
            lambda data: data.replace(b"\x8c\x02i8", b"\x8c\x02i4"),
        ],
    )
    def test_arrays_that_dont_fit_their_bytes(self, spoil: Callable[[bytes], bytes]) -> None:
        data = pickle.dumps(np.arange(5), 4)
        assert spoil(data) != data
        with pytest.raises(zt.ZTensorError):
            opened(spoil(data))


class TestRequests:
    def test_an_array_is_its_bytes(self, backend_of: MakeBackend, through: Through) -> None:
        backend: Any = backend_of("moto")
        arrays = {name: np.full(500_000, ord(name), np.float64) for name in "abc"}
        backend.put("m.pkl", pickle.dumps(arrays, 4))
        location, proxy = through(backend, "m.pkl")
        with zt.open(location) as file:
            assert proxy.response_bytes < 5 * (64 << 10)
            proxy.clear()
            np.testing.assert_array_equal(file["b"][1000:3000], arrays["b"][1000:3000])
            assert proxy.response_bytes == 2000 * 8
