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
_HDF5 = {
    "hdf5.library": "the HDF5 library at hand is too old to tell where its chunks are; install a "
    "newer h5py, with HDF5 1.14.4 or later",
    "hdf5.compact": "it is stored in the header: read it with h5py, or rewrite the file by "
    "h5repack -l CONTI",
    "hdf5.external": "its elements are in other files, which are not followed; read it with h5py",
    "hdf5.virtual": "its elements are in other datasets, which are not followed; read it with h5py",
    "hdf5.empty": "it has no elements and no shape",
    "hdf5.type": "it holds no plain numbers; read it with h5py",
}
_FILTER = "hdf5.filter."
_OTHERS = ("npy.", "onnx.")
SPARSE = "onnx.sparse"


def why_unread(layout: str) -> str | None:
    """Return why tensors of a layout have no array; None where that is not known."""
    if layout in _HDF5:
        return _HDF5[layout]
    if layout.startswith(_FILTER):
        return (
            f"its chunks went through the filter {layout.removeprefix(_FILTER)}, which can't be "
            "undone here; read it with h5py, or rewrite the file by h5repack -f GZIP=4"
        )
    if not layout.startswith(_OTHERS) or layout == SPARSE:
        return None
    held = _HELD.get(layout, f"elements of the type {layout.partition('.')[2]}")
    return f"the array holds {held}; only plain numbers can be read"
