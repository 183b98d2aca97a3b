"""The Python examples of the published 1.0 package run here with only the import changed.

Copied from the README of ztensor 1.0.1, copyright (c) 2025 In Gim, MIT License.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from .blocks import Block, read_blocks
from .test_code_blocks import ROOT, environment, run_blocks

pytest.importorskip("scipy")
pytest.importorskip("torch")

README = ROOT / "tests" / "data" / "published" / "ztensor-1.0.1-README.md"
BLOCKS = read_blocks(README, ROOT)

# The example of compression takes its data for granted.
BEFORE = "import numpy as np\ndata = np.tile(np.arange(100.0), 1000)\n"
AFTER = """\
import scipy.sparse, torch, numpy as np
from ztensor_remote import Reader

assert weights.shape == (1024, 768) and weights.dtype == np.float32 and weights.any()
assert isinstance(embedding, torch.Tensor) and torch.equal(embedding, t)
assert isinstance(matrix, scipy.sparse.csr_matrix) and matrix.dtype == np.float32
assert matrix.toarray().tolist() == [[1, 0], [0, 2]]
with Reader("model.zt") as r:
    assert r.tensor_names == ["bias", "weights"]
    assert np.array_equal(r.read_tensor("weights"), weights) and not r.read_tensor("bias").any()
with Reader("compressed.zt") as r:
    assert r.metadata("big_data").encoding == "zstd" and r.metadata("big_data").size < 100_000
    assert np.array_equal(r.read_tensor("big_data"), data)
"""


def with_our_import(block: Block) -> Block:
    return replace(
        block, code=block.code.replace("from ztensor import", "from ztensor_remote import")
    )


def test_the_examples_run(tmp_path: Path) -> None:
    ours = [with_our_import(block) for block in BLOCKS]
    blocks = [
        Block("before", 1, "python", BEFORE, True),
        *ours,
        Block("after", 2, "python", AFTER, True),
    ]
    run = run_blocks(blocks, tmp_path, environment(tmp_path))
    assert run.finished == {block.line for block in blocks}, run.output
    assert "Weights shape: (1024, 768), dtype: float32" in run.output
    assert "torch.Size([10, 10])" in run.output


def test_nothing_but_the_import_is_changed() -> None:
    """Four examples: NumPy, PyTorch, sparse, compression. The last one shows no import."""
    assert len(BLOCKS) == 4
    for block in BLOCKS:
        changed = [
            (old, new)
            for old, new in zip(
                block.code.splitlines(), with_our_import(block).code.splitlines(), strict=True
            )
            if old != new
        ]
        importing = [
            ("from ztensor import Writer, Reader", "from ztensor_remote import Writer, Reader")
        ]
        assert changed == (importing if "import" in block.code else [])
