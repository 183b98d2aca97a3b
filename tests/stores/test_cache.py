"""What the cache's folder must be, how objects in it are named, and who fetches what."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

import fsspec
import numpy as np
import pytest

from ztensor_remote.errors import InvalidInputError, UnsupportedError
from ztensor_remote.stores import Cache, Identity, Stats, locate
from ztensor_remote.stores.blocks import BLOCK, Blocks
from ztensor_remote.stores.cache import blocks_of, name_of
from ztensor_remote.stores.claims import Claims
from ztensor_remote.stores.plan import Runs, plan
from ztensor_remote.stores.room import Room

LOCATION = locate("s3://bucket/model.zt")
IDENTITY = Identity(100_000, etag='"abc"')


class TestCache:
    def test_is_a_plain_value(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert Cache("kept") == Cache(str(tmp_path / "kept"), None)
        assert str(Path.home()) in repr(Cache("~/kept", max_bytes=5))

    @pytest.mark.parametrize("most", [0, -1])
    def test_has_to_hold_something(self, most: int) -> None:
        with pytest.raises(InvalidInputError, match="hold something"):
            Cache("kept", max_bytes=most)

    def test_is_refused_where_locks_outlive_their_holder(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "platform", "win32")
        with pytest.raises(UnsupportedError, match="Linux or macOS"):
            Cache("kept")

    def test_nobody_else_can_look_into_it(self, tmp_path: Path) -> None:
        cache = Cache(tmp_path / "a" / "kept")
        blocks = blocks_of(cache, LOCATION, IDENTITY, Stats())
        assert blocks is not None
        folder = Path(cache.path)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}

    def test_a_folder_that_others_may_write_to(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o777)
        with pytest.raises(InvalidInputError, match="others may write"):
            blocks_of(Cache(tmp_path), LOCATION, IDENTITY, Stats())

    def test_a_folder_of_another_user(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
        with pytest.raises(InvalidInputError, match="another user's"):
            blocks_of(Cache(tmp_path), LOCATION, IDENTITY, Stats())

    def test_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(InvalidInputError, match="no folder"):
            blocks_of(Cache(tmp_path / "file"), LOCATION, IDENTITY, Stats())

    def test_a_link_in_it_is_not_followed(self, tmp_path: Path) -> None:
        victim = tmp_path / "victim"
        victim.write_bytes(b"precious")
        name = name_of(LOCATION, IDENTITY)
        (tmp_path / f"{name}.data").symlink_to(victim)
        stats = Stats()
        with pytest.warns(RuntimeWarning, match="goes on without it"):
            assert blocks_of(Cache(tmp_path), LOCATION, IDENTITY, stats) is None
        assert victim.read_bytes() == b"precious" and stats.uncached


class TestNames:
    def test_are_those_of_versions(self) -> None:
        names = [
            name_of(LOCATION, IDENTITY),
            name_of(LOCATION, Identity(100_001, etag='"abc"')),
            name_of(LOCATION, Identity(100_000, etag='"abd"')),
            name_of(LOCATION, Identity(100_000, etag='"abc"', version="1")),
            name_of(LOCATION, Identity(100_000, modified=1.5)),
            name_of(locate("s3://bucket/other.zt"), IDENTITY),
        ]
        assert None not in names and len({*names}) == len(names)

    def test_hold_nothing_secret(self) -> None:
        url = "https://{}example.com/model.zt{}"
        one, other = (
            name_of(locate(url.format(*parts), storage_options=options), IDENTITY)
            for parts, options in [
                (("me:pw@", "?sig=1"), {"token": "a"}),
                (("", "?sig=2"), {"token": "b"}),
            ]
        )
        assert one == other is not None

    @pytest.mark.parametrize(
        "identity",
        [
            Identity(0, etag='"abc"'),
            Identity(5),
            Identity(5, etag='W/"abc"'),
        ],
    )
    def test_are_for_bytes_that_are_named(self, identity: Identity) -> None:
        assert name_of(LOCATION, identity) is None

    def test_a_time_names_bytes_only_with_all_of_the_url(self) -> None:
        timed = Identity(5, modified=1.0)
        assert name_of(locate("sftp://host/model.zt"), timed)
        for unclear in (
            locate("https://host/file?name=model.zt"),
            locate("tar://model.zt::s3://bucket/a.tar"),
            locate("model.zt", fs=fsspec.filesystem("memory")),
        ):
            assert name_of(unclear, timed) is None
            assert name_of(unclear, IDENTITY)


class TestBlocks:
    def test_only_what_was_stored_is_there(self, tmp_path: Path) -> None:
        data = os.urandom(5 * BLOCK + 77)
        blocks = Blocks(str(tmp_path / "x"), len(data))
        blocks.store(1, memoryview(data)[BLOCK : 3 * BLOCK])
        blocks.store(5, memoryview(data)[5 * BLOCK :])
        assert blocks.sound(range(6)).tolist() == [False, True, True, False, False, True]
        assert blocks.view(BLOCK + 5, 2 * BLOCK - 5) == data[BLOCK + 5 : 3 * BLOCK]
        assert blocks.view(5 * BLOCK, 77) == data[5 * BLOCK :]
        assert blocks.view(BLOCK - 1, 2) is None
        assert blocks.private_view(3 * BLOCK - 1, 2) is None

    def test_a_claim_is_one_threads_and_one_processs(self, tmp_path: Path) -> None:
        with (tmp_path / "x").open("w+b") as file:
            claims = Claims(file.fileno())
            child = os.fork()
            if not child:  # its parent's claims are another's, and end with it
                fcntl.lockf(file, fcntl.LOCK_EX, 2, 3)
                os.kill(os.getpid(), 9)
            os.waitpid(child, 0)
            with claims.taking(range(2, 6)) as mine:
                assert mine == [range(2, 6)]
                with claims.taking(range(0, 8)) as others:
                    assert others == [range(0, 2), range(6, 8)]
                if not (child := os.fork()):
                    with Claims(file.fileno()).taking(range(0, 8)) as its:
                        os._exit(its != [range(0, 2), range(6, 8)])
                assert os.waitpid(child, 0)[1] == 0
            with claims.taking(range(2, 6)) as mine:
                assert mine == [range(2, 6)]


def test_room_is_taken_by_what_was_written(tmp_path: Path) -> None:
    room = Room(str(tmp_path), 100_000)
    granted = []
    for _ in range(3):
        with room.taking(40_000) as is_granted:
            granted.append(is_granted)
            if is_granted:
                (tmp_path / f"{len(granted)}.data").write_bytes(bytes(40_000))
    assert granted == [True, True, True]  # the first made way
    assert len(list(tmp_path.glob("*.data"))) == 2
    assert not room.has(200_000)


def test_requests_for_blocks_read_over_what_comes_anyway() -> None:
    from ztensor_remote.stores.link import Link

    costs = Link().costs(connections=8)
    near = Runs.packed(np.arange(0, 1000, dtype=np.int64) * 60_000, 100)
    [*requests] = plan(near, costs, grain=BLOCK)
    assert sum(each.length for each in requests) >= 999 * 60_000 - 64 * 60_000
    assert len(requests) < 100
    cuts = plan(Runs.single(1000, 50 << 20), costs, grain=BLOCK)
    assert len(cuts) > 1 and all(each.offset % BLOCK == 0 for each in cuts[1:])
    assert sum(each.length for each in cuts) == 50 << 20
