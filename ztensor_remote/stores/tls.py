"""TLS as each client library sets it up."""

from __future__ import annotations

import ssl
from functools import cache

from .target import NoTarget


@cache
def tls_context(verify: bool | str) -> ssl.SSLContext:
    """Return a context that trusts what the caller of a client asked it to trust.

    Parameters
    ----------
    verify : bool or str
        True for the system's authorities, False for anybody, or the path of a bundle.
    """
    bundle = verify if isinstance(verify, str) else None
    context = ssl.create_default_context(cafile=bundle)
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def as_context(setting: object) -> ssl.SSLContext:
    """Return the context that an ``ssl=`` argument of aiohttp stands for.

    Raises
    ------
    NoTarget
    """
    if setting is None or isinstance(setting, bool):
        return tls_context(setting is not False)
    if isinstance(setting, ssl.SSLContext):
        return setting
    raise NoTarget("ssl= is a fingerprint, which only aiohttp checks")
