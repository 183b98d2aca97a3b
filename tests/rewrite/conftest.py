"""Backends by name, as the stores' own tests have them."""

from tests.stores.conftest import *  # noqa: F403
