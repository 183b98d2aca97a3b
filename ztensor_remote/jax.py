"""For JAX: tensors on devices, each of which gets the part that is its own."""

from __future__ import annotations

from .integrations.jax import load

__all__ = ["load"]
