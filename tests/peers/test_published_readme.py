"""What we keep of a published README is what the package has."""

from __future__ import annotations

from pathlib import Path

import pytest

from .environments import site_packages
from .worker import Peer

pytestmark = pytest.mark.peers
COPY = Path(__file__).parents[1] / "data" / "published" / "ztensor-1.0.1-README.md"


@pytest.mark.parametrize("peer", ["1.0.1"], indirect=True)
def test_the_copy_is_word_for_word(peer: Peer) -> None:
    [metadata] = site_packages(peer.python).glob("ztensor-*.dist-info/METADATA")
    attribution, copied = COPY.read_text(encoding="utf-8").split("-->\n", 1)
    assert "In Gim, MIT License" in attribution
    assert copied.strip() in metadata.read_text(encoding="utf-8")
