"""A file that was cut off is refused, wherever the cut is."""

from __future__ import annotations

import pytest

import ztensor_remote as zt
from tests.formats.build import (
    entry_0_1,
    file_0_1,
    file_1_0,
    file_1_2,
    file_2,
    object_1_2,
    part_1,
    part_2,
    root_1_0,
    root_1_2,
    root_2,
    tensor_1_0,
)

# The blob ends in zeros, as a cut-off footer would look.
BLOB = b"\xab" * 16 + bytes(48)
FILES = {
    "0.1": file_0_1([entry_0_1(shape=[64], size=64)], {64: BLOB}),
    "1.0": file_1_0(
        root_1_0({"t": tensor_1_0(shape=[64], components={"data": part_1(length=64)})}), {64: BLOB}
    ),
    "1.2": file_1_2(
        root_1_2({"t": object_1_2(shape=[64], components={"data": part_1(dtype="u8", length=64)})}),
        {64: BLOB},
    ),
    "2": file_2(
        root_2(
            {
                "t": {
                    "shape": [64],
                    "layout": "dense",
                    "parts": {"data": part_2(blob=[4096, 64])},
                }
            }
        ),
        {4096: BLOB},
    ),
}


@pytest.mark.parametrize("version", FILES)
def test_cut_off_anywhere(version: str) -> None:
    whole = FILES[version]
    with zt.open(whole) as reader:
        assert reader["t"].numpy().tobytes() == BLOB
    for length in range(len(whole)):
        if version == "0.1" and length == 16:
            continue  # header and zeros: that is the file without tensors
        with pytest.raises(zt.FormatError) as caught:
            zt.open(whole[:length])
        assert caught.value.rule, length


@pytest.mark.parametrize("version", FILES)
def test_cut_off_at_the_front(version: str) -> None:
    whole = FILES[version]
    for start in range(1, len(whole), 7):
        with pytest.raises(zt.FormatError):
            zt.open(whole[start:])


@pytest.mark.parametrize("version", FILES)
def test_with_more_behind_it(version: str) -> None:
    for tail in (b"\0", bytes(8), bytes(64), b"\xff" * 8, b"junk" * 20):
        with pytest.raises(zt.FormatError):
            zt.open(FILES[version] + tail)


@pytest.mark.parametrize("version", FILES)
def test_with_a_hole_in_it(version: str) -> None:
    """A missing run of bytes: an error, or the data as it was."""
    whole = FILES[version]
    for start in range(0, len(whole), max(1, len(whole) // 97)):
        for length in (1, 8, 64):
            try:
                with zt.open(whole[:start] + whole[start + length :]) as reader:
                    for name in reader:
                        reader[name].numpy()
            except zt.ZTensorError:
                pass
