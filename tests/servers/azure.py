"""Azurite: Azure Blob Storage. It is a Node program; npm brings it when it is first used."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from .endpoint import StoreEndpoint
from .process import ServerProcess, free_port

# The last version that runs on Node 20 and older.
VERSION = "3.35.0"
CACHE = Path.home() / ".cache" / "ztensor-remote-tests"

# Published by Microsoft as that of every development store.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True)
class AzureEndpoint(StoreEndpoint):
    """An Azure Blob Storage server with the development account."""

    protocol: ClassVar[str] = "az"

    @property
    def storage_options(self) -> dict[str, Any]:
        """What adlfs takes."""
        settings = {
            "DefaultEndpointsProtocol": "http",
            "AccountName": ACCOUNT,
            "AccountKey": KEY,
            "BlobEndpoint": f"{self.url}/{ACCOUNT}",
        }
        return {"connection_string": ";".join(f"{name}={settings[name]}" for name in settings)}


def azure_server() -> ServerProcess[AzureEndpoint]:
    """Return the server, not yet started."""
    port = free_port()
    command = [
        *("node", str(_installed() / "node_modules/azurite/dist/src/blob/main.js")),
        *("--blobHost", "127.0.0.1", "--blobPort", str(port)),
        # Clients follow Azure's service version sooner than Azurite does.
        "--skipApiVersionCheck",
        "--inMemoryPersistence",
        "--disableTelemetry",
    ]
    return ServerProcess(command, AzureEndpoint(f"http://127.0.0.1:{port}"))


def _installed() -> Path:
    """Return the folder that Azurite is installed in, after installing it if need be."""
    folder = CACHE / f"azurite-{VERSION}"
    if folder.exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    # Elsewhere at first: an interrupted installation must not count as one, and parallel test
    # processes must not write into each other's.
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        fresh = Path(scratch) / folder.name
        _install(fresh)
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.exists():
                raise
    return folder


def _install(folder: Path) -> None:
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
    result = subprocess.run(
        ["npm", "install", *options, f"azurite@{VERSION}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if result.returncode:
        raise RuntimeError(f"npm could not install Azurite:\n{result.stdout}")
