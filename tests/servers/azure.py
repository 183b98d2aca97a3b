"""Azurite: Azure Blob Storage. It is a Node program; npm brings it when it is first used."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from filelock import FileLock

from .endpoint import StoreEndpoint
from .process import ServerProcess, free_port

# The last version that runs on Node 20 and older.
VERSION = "3.35.0"
CACHE = Path.home() / ".cache" / "ztensor-remote-tests"

# Of Debian and Fedora, and their likes.
_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_UNREACHABLE = ("ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EAI_AGAIN", "_CERT")

# Published by Microsoft as that of every development store.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class NothingToInstallError(RuntimeError):
    """No registry was reached."""


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


# It confirms what it saves later, every five seconds: too late for a server that is killed.
SAVING_OFTEN = """
const Loki = require(process.env.LOKI);
const configure = Loki.prototype.configureOptions;
Loki.prototype.configureOptions = function (options, initial) {
  return configure.call(this, {...options, autosaveInterval: 20}, initial);
};
"""
SAVING_SECONDS = 0.5
"""After so long everything is saved that was confirmed."""


def azure_server(folder: Path | None = None) -> ServerProcess[AzureEndpoint]:
    """Return the server, not yet started; with a folder its blobs survive a restart."""
    port = free_port()
    modules = _installed() / "node_modules"
    kept = ["--inMemoryPersistence"]
    options: list[str] = []
    if folder is not None:
        script = folder / "saving_often.js"
        script.write_text(SAVING_OFTEN)
        options = ["--require", str(script)]
        kept = ["--location", str(folder)]
    command = [
        *("node", *options, str(modules / "azurite/dist/src/blob/main.js")),
        *("--blobHost", "127.0.0.1", "--blobPort", str(port)),
        # Clients follow Azure's service version sooner than Azurite does.
        "--skipApiVersionCheck",
        "--disableTelemetry",
        *kept,
    ]
    endpoint = AzureEndpoint(f"http://127.0.0.1:{port}")
    return ServerProcess(command, endpoint, {"LOKI": str(modules / "lokijs")})


def _installed() -> Path:
    """Return the folder that Azurite is installed in, after installing it if need be."""
    folder = CACHE / f"azurite-{VERSION}"
    if folder.exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    # Elsewhere at first: an interrupted installation must not count as one.
    with FileLock(CACHE / "lock"), tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        if not folder.exists():  # else another test process had the lock before
            fresh = Path(scratch) / folder.name
            _install(fresh)
            fresh.rename(folder)
    return folder


def _install(folder: Path) -> None:
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1"]
    result = subprocess.run(
        ["npm", "install", *options, "--prefix", str(folder), f"azurite@{VERSION}"],
        env=_with_certificates(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if not result.returncode:
        return
    if any(reason in result.stdout for reason in _UNREACHABLE):
        raise NothingToInstallError(f"npm can't reach its registry: {result.stdout[-500:]}")
    raise RuntimeError(f"npm could not install Azurite:\n{result.stdout}")


def _with_certificates(environment: Mapping[str, str]) -> dict[str, str]:
    """Have Node trust whom the system trusts; by itself it knows its own list alone."""
    found = [file for file in _CERTIFICATES if os.path.exists(file)]
    return {**({"NODE_EXTRA_CA_CERTS": found[0]} if found else {}), **environment}
