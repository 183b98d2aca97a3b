"""What `import ztensor_remote` costs and what it offers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import ztensor_remote

ROOT = Path(ztensor_remote.__file__).resolve().parents[1]

# Each costs a cold worker a noticeable part of a second, and most programs need few of them.
LEFT_OUT = {
    "adlfs",
    "aiobotocore",
    "aiohttp",
    "azure",
    "boto3",
    "botocore",
    "dask",
    "gcsfs",
    "h5py",
    "huggingface_hub",
    "jax",
    "obstore",
    "onnx",
    "pandas",
    "ray",
    "rich",
    "s3fs",
    "scipy",
    "torch",
    "typer",
    "xarray",
}


def run_fresh(code: str) -> object:
    """Run code in a new interpreter with warnings as errors; return the JSON it prints."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_import_leaves_heavy_libraries_out() -> None:
    loaded = run_fresh("import json, sys, ztensor_remote; print(json.dumps(list(sys.modules)))")
    assert isinstance(loaded, list)
    assert "ztensor_remote" in loaded
    assert LEFT_OUT & {name.partition(".")[0] for name in loaded} == set()


def test_modules_for_frameworks_leave_the_framework_out() -> None:
    loaded = run_fresh(
        "import json, sys, ztensor_remote as zt\n"
        "zt.numpy.load_file, zt.torch.load_state_dict, zt.jax.load, zt.xarray.to_zt\n"
        "zt.dask.array, zt.ray.load\n"
        "print(json.dumps(list(sys.modules)))"
    )
    assert isinstance(loaded, list)
    assert "ztensor_remote.integrations.state_dict" in loaded
    assert LEFT_OUT & {name.partition(".")[0] for name in loaded} == set()


def test_libraries_that_are_not_installed_are_named_with_their_extra() -> None:
    messages = run_fresh(
        "import json, sys\n"
        "sys.modules |= dict.fromkeys(['dask', 'jax', 'scipy', 'torch', 'xarray'])\n"
        "import ztensor_remote as zt\n"
        "with zt.Writer('memory://a.zt') as w:\n"
        "    w.add_tensor('a', [1.0])\n"
        "    w.add_sparse_coo('s', [1.0], [[0], [0]], (1, 1))\n"
        "model = zt.open('memory://a.zt')\n"
        "calls = {\n"
        "    'dask': lambda: zt.dask.array(model['a']),\n"
        "    'jax': model['a'].jax,\n"
        "    'jax shards': lambda: zt.jax.load(model),\n"
        "    'scipy': model['s'].scipy,\n"
        "    'torch': model['a'].torch,\n"
        "    'xarray': lambda: zt.xarray.to_zt(None, 'memory://b.zt'),\n"
        "}\n"
        "messages = {}\n"
        "for name, call in calls.items():\n"
        "    try:\n"
        "        call()\n"
        "    except zt.MissingDependencyError as error:\n"
        "        messages[name] = str(error)\n"
        "print(json.dumps(messages))"
    )
    assert isinstance(messages, dict)
    assert {*messages} == {"dask", "jax", "jax shards", "scipy", "torch", "xarray"}
    for name, message in messages.items():
        assert f"pip install 'ztensor-remote[{name.split()[0]}]'" in message


def test_every_public_name_resolves() -> None:
    missing = run_fresh(
        "import json, ztensor_remote as zt\n"
        "print(json.dumps([name for name in zt.__all__ if not hasattr(zt, name)]))"
    )
    assert missing == []


def test_dir_shows_every_public_name_before_any_was_used() -> None:
    hidden = run_fresh(
        "import json, ztensor_remote as zt\n"
        "print(json.dumps(sorted(set(zt.__all__) - set(dir(zt)))))"
    )
    assert hidden == []


def test_public_names_are_sorted_and_unique() -> None:
    names = list(ztensor_remote.__all__)
    assert len(names) == len(set(names))
    assert names == sorted(names, key=sort_key)


def sort_key(name: str) -> tuple[int, str]:
    """The order that ruff keeps `__all__` in (RUF022): CONSTANTS, then Classes, then the rest."""
    if name.isupper():
        return 0, name
    return (1 if name[0].isupper() else 2), name
