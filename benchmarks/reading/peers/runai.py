"""Run:ai Model Streamer, on safetensors files."""

from __future__ import annotations

import os

from ..job import BUCKET, KEY, REGION, SECRET
from .peer import Arrays, Peer


class RunAI(Peer):
    """``SafetensorsStreamer``; it opens the file anew each time."""

    packages = ("runai-model-streamer", "runai-model-streamer-s3", "numpy")
    actions = frozenset(("load",))
    written_by = "safetensors"

    def connect(self) -> None:
        """Name the server, which it takes from the environment."""
        os.environ |= {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.job.place.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING": "0",
        }
        if self.job.place.ca:
            os.environ["AWS_CA_BUNDLE"] = self.job.place.ca
        from runai_model_streamer import SafetensorsStreamer

        self._streamer = SafetensorsStreamer

    def load(self, names: list[str]) -> Arrays:
        """Stream the tensors."""
        dataset = self.job.dataset
        some = names if len(names) < dataset.count else None
        with self._streamer() as streamer:
            path = f"s3://{BUCKET}/{dataset.name}.safetensors"
            streamer.stream_file(path, tensor_names=some)
            return {name: tensor.numpy() for name, tensor in streamer.get_tensors()}
