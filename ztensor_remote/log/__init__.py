"""Append-only logs of checkpoints: a folder of steps, each whole or not there."""

from .checkpoint_log import CheckpointLog
from .prune import Pruned

__all__ = ["CheckpointLog", "Pruned"]
