"""CoreWeave's tensorizer, over HTTP."""

from __future__ import annotations

from pathlib import Path

from .peer import Arrays, Peer


class Tensorizer(Peer):
    """``TensorDeserializer``, lazily; its URL is public."""

    packages = ("tensorizer", "torch", "numpy")
    actions = frozenset(("load",))
    trusts = False
    written_by = "tensorizer"

    def write(self, folder: Path) -> None:
        """Write a file."""
        import torch
        from tensorizer import TensorSerializer

        dataset = self.job.dataset
        serializer = TensorSerializer(str(folder / f"{dataset.name}.tensors"))
        arrays = {name: torch.from_numpy(dataset.array(name)) for name in dataset.names}
        serializer.write_state_dict(arrays)
        serializer.close()

    def connect(self) -> None:
        """Import."""
        from tensorizer import TensorDeserializer
        from tensorizer.stream_io import open_stream

        self._deserializer, self._stream = TensorDeserializer, open_stream

    def load(self, names: list[str]) -> Arrays:
        """Read tensors, or skip what is not wanted."""
        wanted = frozenset(names)
        url = self.job.place.object_url(f"{self.job.dataset.name}.tensors")
        with (
            self._stream(url, "rb") as stream,
            self._deserializer(
                stream, device="cpu", lazy_load=False, filter_func=lambda name: name in wanted
            ) as found,
        ):
            return {name: found[name].detach().numpy() for name in names}
