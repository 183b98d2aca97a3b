"""This project."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from ..job import BUCKET, KEY_OF_OBJECT
from .peer import Peer

Checksum = Literal["crc32c"]


class ZTensor(Peer):
    """``zt.Writer("s3://...")``: a crc32c of each tensor and a CRC-32C of each part."""

    actions = frozenset(("upload", "append", "log"))
    is_file = True
    options: ClassVar[dict[str, Any]] = {}
    copy: ClassVar[bool] = True
    checksum: ClassVar[Checksum | None] = "crc32c"

    def connect(self) -> None:
        """Import."""
        import ztensor_remote as zt

        self._zt = zt
        self._tensors = self.job.tensors(self.payload)
        self._place = {
            "location": f"s3://{BUCKET}/{KEY_OF_OBJECT}",
            "storage_options": {**self.s3fs_options, **self.options},
        }
        self._round = 0
        if self.job.action == "log":
            self._log = zt.CheckpointLog(
                f"s3://{BUCKET}/log", storage_options=self._place["storage_options"]
            )

    def prepare(self, round: str) -> None:
        """Write what is added to, or train a step."""
        self._round += 1
        match self.job.action:
            case "append":
                base = self.payload[: min(self.job.base_bytes, len(self.payload))]
                with self._zt.Writer(**self._place) as writer:
                    for number in range(self.job.base_bytes // len(base)):
                        writer.add_tensor(f"base.{number}", base)
            case "log":
                name = list(self._tensors)[self._round % self.job.count]
                self._tensors[name][:] = self._round

    def upload(self) -> None:
        """Write a file."""
        with self._zt.Writer(**self._place, checksum=self.checksum, copy=self.copy) as writer:
            for name, tensor in self._tensors.items():
                writer.add_tensor(name, tensor)

    def append(self) -> None:
        """Add to a file."""
        with self._zt.append(**self._place) as writer:
            for name, tensor in self._tensors.items():
                writer.add_tensor(name, tensor)

    def log(self) -> None:
        """Append a step, of whose tensors one has changed."""
        self._log.append(self._round, self._tensors)


class Lent(ZTensor):
    """The same, sent from where the tensors are."""

    actions = frozenset(("upload",))
    copy = False


class Unchecked(Lent):
    """The last without any digest."""

    options: ClassVar[dict[str, Any]] = {
        "config_kwargs": {"request_checksum_calculation": "when_required"}
    }
    checksum = None
