"""The virtual environment of peers that the project does not depend on."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from .process import PeerFailedError


class Environment:
    """Made when the first package is asked for; whoever gave the folder removes it.

    Parameters
    ----------
    folder
        Where it is, or will be.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self._folder / "bin" / "python")

    def install(self, packages: tuple[str, ...]) -> None:
        """Install what a peer needs, unless it is there.

        Raises
        ------
        PeerFailedError
        """
        if not Path(self.python).exists():
            venv.create(self._folder, with_pip=True)
        command = [self.python, "-m", "pip", "install", "--quiet", "--no-input", *packages]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise PeerFailedError((lines or ["pip failed"])[-1][:300])

    def versions(self, packages: list[str]) -> dict[str, str]:
        """Return what is installed, by package."""
        program = (
            "import sys, importlib.metadata as m\n"
            "for name in sys.argv[1:]:\n"
            "    try: print(name, m.version(name))\n"
            "    except m.PackageNotFoundError: pass"
        )
        python = self.python if Path(self.python).exists() else sys.executable
        command = [python, "-c", program, *packages]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return dict(line.split() for line in shown.splitlines())
