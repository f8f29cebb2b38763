"""Tables of profiles: looked up by name, set side by side."""

from __future__ import annotations

import pytest

from nucleate.errors import UnknownProfile
from nucleate.profiles import SIZES, Profiles, side_by_side


def test_profiles_are_found_by_name_and_offered_in_order() -> None:
    table = Profiles({"small": 1, "large": 2}, default="large")
    assert (table.named("small"), table.named(""), list(table)) == (1, 2, ["small", "large"])
    with pytest.raises(UnknownProfile, match="unknown profile 'huge': choose one of small, large"):
        table.named("huge")


def test_sizes_side_by_side_take_one_value_of_each_column() -> None:
    assert side_by_side(dict, name=SIZES, steps=(1, 2, 3))["cpu"] == {"name": "cpu", "steps": 2}
    with pytest.raises(ValueError, match="zip"):
        side_by_side(dict, name=SIZES, steps=(1, 2))
