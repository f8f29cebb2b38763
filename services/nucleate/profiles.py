"""Named profiles: one method at several sizes, by configuration only. Every service keeps its own table of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from nucleate.errors import UnknownProfile

P = TypeVar("P")
P_co = TypeVar("P_co", covariant=True)

#: What every trained method is offered in: for tests, for two cores, and for a GPU.
SIZES = ("tiny", "cpu", "full")


class Profiles(Mapping[str, P_co]):
    """A read-only table of profiles by name, in the order in which they are offered."""

    def __init__(self, table: Mapping[str, P_co], default: str = "cpu") -> None:
        self._table, self._default = dict(table), default

    def __getitem__(self, name: str) -> P_co:
        return self._table[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def named(self, name: str) -> P_co:
        """The profile of that name; an empty name means the default.

        Raises:
            UnknownProfile: there is none of that name.
        """
        try:
            return self._table[name or self._default]
        except KeyError:
            raise UnknownProfile(name, self._table) from None


def side_by_side(make: Callable[..., P], /, **columns: Sequence[Any]) -> dict[str, P]:
    """The profiles of `SIZES`: `columns` has each field's values in that order, the rest is left to `make`."""
    rows = zip(*columns.values(), strict=True)
    return {size: make(**dict(zip(columns, row, strict=True))) for size, row in zip(SIZES, rows, strict=True)}
