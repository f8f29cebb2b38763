"""Typed access to the fields of a JSON object, with errors that name the path of the field at fault."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nucleate.errors import InvalidDataset


@dataclass(frozen=True, slots=True)
class Fields:
    """One JSON object and the path that leads to it, e.g. `dataset manifest.samples[3].image`."""

    values: dict[str, Any]
    path: str

    @classmethod
    def read(cls, data: bytes, path: str) -> Fields:
        """Parse UTF-8 JSON that holds one object."""
        try:
            document = json.loads(data.decode("utf-8"))
        except (UnicodeDecodeError, ValueError, RecursionError) as error:
            raise InvalidDataset(
                f"{path} is not UTF-8 JSON ({type(error).__name__}): give the bytes of Dataset.to_json"
            ) from None
        return cls._object(document, path)

    @classmethod
    def _object(cls, value: object, path: str) -> Fields:
        if not isinstance(value, dict):
            raise _wrong(path, value, "an object")
        return cls(value, path)

    def _get(self, name: str) -> Any:
        if name not in self.values:
            raise InvalidDataset(f"{self.path}.{name} is missing")
        return self.values[name]

    def text(self, name: str) -> str:
        """A string."""
        value = self._get(name)
        if not isinstance(value, str):
            raise _wrong(f"{self.path}.{name}", value, "text")
        return value

    def integer(self, name: str) -> int:
        """An integer (JSON booleans and 1.0 are not)."""
        value = self._get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong(f"{self.path}.{name}", value, "an integer")
        return value

    def number(self, name: str) -> float:
        """Any number that fits a double."""
        value = self._get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise _wrong(f"{self.path}.{name}", value, "a number")
        try:
            return float(value)
        except OverflowError:
            raise _wrong(f"{self.path}.{name}", value, "a number that fits a double") from None

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of the given strings."""
        value = self.text(name)
        if value not in choices:
            raise InvalidDataset(f"{self.path}.{name} is '{value[:80]}': use one of {', '.join(choices)}")
        return value

    def group(self, name: str) -> Fields:
        """A nested object."""
        return self._object(self._get(name), f"{self.path}.{name}")

    def optional_group(self, name: str) -> Fields | None:
        """A nested object or null."""
        return None if self._get(name) is None else self.group(name)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        value = self._get(name)
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise _wrong(f"{self.path}.{name}", value, "a list of texts")
        return tuple(value)

    def groups(self, name: str) -> Iterator[Fields]:
        """A list of nested objects."""
        value = self._get(name)
        if not isinstance(value, list):
            raise _wrong(f"{self.path}.{name}", value, "a list")
        for index, entry in enumerate(value):
            yield self._object(entry, f"{self.path}.{name}[{index}]")


def _wrong(path: str, value: object, wanted: str) -> InvalidDataset:
    return InvalidDataset(f"{path} is {str(value)[:60]!r}: it has to be {wanted}")
