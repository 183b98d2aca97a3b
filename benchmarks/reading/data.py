"""Datasets in a folder that servers show, each in the formats that peers read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import s3fs

import ztensor_remote as zt

from .datasets import Dataset
from .job import BUCKET, KEY, REGION, SECRET, Job, Place, Task
from .process import PeerFailedError, Worker

Layout = dict[str, tuple[int, int]]


class Data:
    """Writes what is needed, once.

    Parameters
    ----------
    folder
        Its subfolder ``BUCKET`` is the bucket.
    python_of
        Returns the interpreter that a peer runs in.
    """

    def __init__(self, folder: Path, python_of: Callable[[str], str]) -> None:
        self._bucket = folder / BUCKET
        self._bucket.mkdir(parents=True)
        self._python_of = python_of
        self._failures: dict[tuple[str, Dataset], PeerFailedError | None] = {}
        self._uploaded: set[tuple[Place, Dataset]] = set()

    def write(self, writer: str, dataset: Dataset) -> None:
        """Write a dataset in the format of a peer.

        Raises
        ------
        PeerFailedError
            Again whenever it is asked for.
        """
        if (writer, dataset) not in self._failures:
            self._failures[writer, dataset] = self._try(writer, dataset)
        if (failure := self._failures[writer, dataset]) is not None:
            raise failure

    def layout(self, dataset: Dataset) -> Layout:
        """Return offset and length of each tensor in the zTensor file."""
        with zt.open(self._bucket / f"{dataset.name}.zt") as model:
            parts = {name: model[name].components["data"] for name in model}
            return {name: (part.offset, part.length) for name, part in parts.items()}

    def upload(self, place: Place, dataset: Dataset) -> None:
        """Put the zTensor file into another store."""
        if (place, dataset) in self._uploaded:
            return
        fs = s3fs.S3FileSystem(
            key=KEY,
            secret=SECRET,
            endpoint_url=place.url,
            client_kwargs={"region_name": REGION},
            skip_instance_cache=True,
        )
        if not self._uploaded:
            fs.call_s3("create_bucket", Bucket=BUCKET)
        name = f"{dataset.name}.zt"
        fs.put_file(str(self._bucket / name), f"{BUCKET}/{name}")
        self._uploaded.add((place, dataset))

    def _try(self, writer: str, dataset: Dataset) -> PeerFailedError | None:
        job = Job(writer, Place(""), dataset, {}, "", Task("open", []))
        try:
            with Worker(self._python_of(writer), "write", job) as worker:
                worker.send(str(self._bucket))
                worker.answer()
        except PeerFailedError as error:
            return PeerFailedError(f"could not write its data: {error}")
        return None
