"""What files of other formats hold besides tensors: listed, and refused when they are read."""

from __future__ import annotations

_HELD = {
    "npy.O": "Python objects, which would have to be unpickled, and never are",
    "npy.V": "structured or opaque records",
    "npy.U": "text",
    "npy.S": "byte strings",
    "npy.M": "dates",
    "npy.m": "durations",
    "onnx.string": "text",
}
_OTHERS = ("npy.", "onnx.")
SPARSE = "onnx.sparse"


def why_unread(layout: str) -> str | None:
    """Return why tensors of a layout have no array; None where that is not known."""
    if not layout.startswith(_OTHERS) or layout == SPARSE:
        return None
    held = _HELD.get(layout, f"elements of the type {layout.partition('.')[2]}")
    return f"the array holds {held}; only plain numbers can be read"
