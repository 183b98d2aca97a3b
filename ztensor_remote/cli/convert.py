"""``ztensor convert``, ``compress``, ``decompress``, ``merge`` and ``append``: write files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from .options import (
    DeleteOriginal,
    FromStorageOption,
    InputFormat,
    Level,
    Output,
    Overwrite,
    StorageOption,
    StorageOptionsFile,
    ToStorageOption,
    Url,
    Urls,
    from_storage_options,
    storage_options,
    to_storage_options,
)

if TYPE_CHECKING:
    from ..interop import Format
    from ..rewrite import Rewritten


def convert(
    urls: Urls,
    output: Output,
    format: InputFormat = "auto",
    to: Annotated[
        str,
        typer.Option(
            help="What the output is to be: ztensor, safetensors, npz or gguf; by default the "
            "ending of its name tells."
        ),
    ] = "auto",
    compress: Annotated[
        bool, typer.Option("--compress", "-c", help="Compress all tensors.")
    ] = False,
    level: Level = None,
    checksum: Annotated[
        str,
        typer.Option(help="Digest of each tensor: crc32c, sha256, xxh3 or none. Kept by default."),
    ] = "default",
    version: Annotated[
        str, typer.Option("--zt-version", help="Container to write: 1.2, 1.0 or 2.")
    ] = "1.2",
    drop_attributes: Annotated[
        bool,
        typer.Option(
            "--drop-attributes",
            help="Leave attributes out, where the output is of a format that can't hold them.",
        ),
    ] = False,
    delete_original: DeleteOriginal = False,
    overwrite: Overwrite = False,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
    to_storage_option: ToStorageOption = None,
) -> None:
    """Write the tensors of one file, or of several, to a new one, in this format or another.

    In zTensor files each stays as it is stored unless it is to be compressed.
    """
    _write(
        urls,
        output,
        "converting",
        format=format,
        to=to,
        compress=(level or 3) if compress or level else None,
        checksum=None if checksum == "none" else checksum,
        version=version,
        drop_attributes=drop_attributes,
        delete_original=delete_original,
        overwrite=overwrite,
        storage_options=storage_options(storage_option, storage_options_file),
        to_storage_options=to_storage_options(to_storage_option),
    )


def compress(
    url: Url,
    output: Output,
    level: Level = None,
    overwrite: Overwrite = False,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
    to_storage_option: ToStorageOption = None,
) -> None:
    """Write a file anew with all tensors compressed."""
    _write(
        [url],
        output,
        "compressing",
        compress=level or 3,
        version=None,
        overwrite=overwrite,
        storage_options=storage_options(storage_option, storage_options_file),
        to_storage_options=to_storage_options(to_storage_option),
    )


def decompress(
    url: Url,
    output: Output,
    overwrite: Overwrite = False,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
    to_storage_option: ToStorageOption = None,
) -> None:
    """Write a file anew with no tensor compressed."""
    _write(
        [url],
        output,
        "decompressing",
        compress=False,
        version=None,
        overwrite=overwrite,
        storage_options=storage_options(storage_option, storage_options_file),
        to_storage_options=to_storage_options(to_storage_option),
    )


def merge(
    urls: Urls,
    output: Output,
    delete_original: DeleteOriginal = False,
    overwrite: Overwrite = False,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
    to_storage_option: ToStorageOption = None,
) -> None:
    """Write the tensors of several files to one, each as it is stored.

    No two of them may have the same name. Of attributes, the first file has the last word.
    """
    _write(
        urls,
        output,
        "merging",
        version=None,
        delete_original=delete_original,
        overwrite=overwrite,
        storage_options=storage_options(storage_option, storage_options_file),
        to_storage_options=to_storage_options(to_storage_option),
    )


def append(
    url: Annotated[str, typer.Argument(metavar="URL", help="The zTensor file to add to.")],
    others: Annotated[
        list[str],
        typer.Option(
            "--from",
            metavar="OTHER",
            help="Whose tensors to add: files of any format, patterns, ….index.json, folders; may "
            "be repeated.",
        ),
    ],
    format: InputFormat = "auto",
    compress: Annotated[
        bool, typer.Option("--compress", "-c", help="Compress all that is added.")
    ] = False,
    level: Level = None,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
    from_storage_option: FromStorageOption = None,
) -> None:
    """Add the tensors of other files to a file, each as it is stored.

    They appear all at once. No two of them may have the same name.
    """
    from ..rewrite import append_from
    from .progress import progress

    with progress("appending") as callback:
        written = append_from(
            url,
            others,
            format=cast("Format", format),
            compress=(level or 3) if compress or level else None,
            storage_options=storage_options(storage_option, storage_options_file),
            from_storage_options=from_storage_options(from_storage_option),
            callback=callback,
        )
    tell(written)


def _write(urls: list[str], output: str, what: str, **options: Any) -> None:
    from ..rewrite import convert
    from .progress import progress

    with progress(what) as callback:
        written = convert(urls, output, callback=callback, **options)
    tell(written)


def tell(written: Rewritten) -> None:
    """Say what was written."""
    from .render import print_line
    from .text import bytes_text, counted, printable

    count = counted(written.tensors, "tensor")
    print_line(f"{printable(written.url)}: {count}, {bytes_text(written.size)}")
