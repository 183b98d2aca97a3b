"""For xarray: files as datasets, ``xarray.open_dataset(url, engine="ztensor")``, and back."""

from __future__ import annotations

from .integrations.xarray_writing import to_zt

__all__ = ["to_zt"]
