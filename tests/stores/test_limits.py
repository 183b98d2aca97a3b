"""Bounds are checked where they are given, not where they are first used."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.reader.models import model_bytes


class TestLimits:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            *(("connections", value) for value in (0, -1, 1.5, "4", None)),
            *(("max_decoded", value) for value in ("1 GiB", 1e9, 0)),
            *(("in_flight", value) for value in ([], 0)),
            *(("timeout", value) for value in (None, "30", 0, -1, math.nan, math.inf)),
            *(("deadline", value) for value in ("60", 0, math.nan)),
            *(("hedge_after", value) for value in ("1", -0.5)),
        ],
    )
    def test_a_bound_is_a_number_above_zero(self, field: str, value: Any) -> None:
        with pytest.raises(zt.InvalidInputError, match=f"^limits: {field}=.*; give a"):
            zt.Limits(**{field: value})

    def test_numbers_of_any_type_are_fine(self) -> None:
        limits = zt.Limits(connections=np.int32(4), timeout=10, deadline=np.float32(2))
        assert limits == zt.Limits(connections=4, timeout=10.0, deadline=2.0)

    @pytest.mark.parametrize("limits", [0, 5, {}, {"connections": 4}, "fast", zt.Limits])
    def test_something_else_is_refused_where_it_is_given(self, limits: Any) -> None:
        data = model_bytes({"w": np.arange(3)})
        for make in (zt.open, zt.CheckpointLog):
            with pytest.raises(zt.InvalidInputError, match="give a Limits"):
                make(data, limits=limits)
        with zt.open(data, limits=None) as model:
            assert model["w"].numpy().tolist() == [0, 1, 2]
