"""Many synthetic images from many references: order, parallelism and the cache of references.

References take turns: image i is drawn from reference i mod n. They are taken apart in groups, so that a pool of any size
needs the memory of one group only.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.stain import require_tissue
from nucleate.synthesis.generate import Synthetic, synthesize
from nucleate.synthesis.profiles import Profile
from nucleate.synthesis.reference import Reference, take_apart

T = TypeVar("T")
R = TypeVar("R")

GROUP = 16


@dataclass(frozen=True)
class Source:
    """A reference image not read yet: `key` identifies its bytes, `read` decodes it to HWC uint8 RGB."""

    name: str
    key: str
    read: Callable[[], NDArray[np.uint8]]


class ReferenceCache:
    """References by image bytes and profile, the least recently used dropped beyond `capacity`; thread-safe."""

    def __init__(self, capacity: int = GROUP) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[tuple[str, str, Profile], Reference] = OrderedDict()
        self._lock = threading.Lock()

    def holds(self, source: Source, profile: Profile) -> bool:
        """Whether `get` would be quick."""
        return _key(source, profile) in self._kept

    def get(self, source: Source, profile: Profile) -> Reference:
        """The source taken apart; raises what `Source.read` and `take_apart` raise."""
        key = _key(source, profile)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        reference = take_apart(source.read(), source.name, profile)
        with self._lock:
            self._kept[key] = reference
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        return reference


def _key(source: Source, profile: Profile) -> tuple[str, str, Profile]:
    return source.key, source.name, profile.for_references()


@dataclass(frozen=True)
class Batch:
    """`count` images of the run `seed`, drawn from `sources` (at least one) by `workers` threads."""

    sources: Sequence[Source]
    count: int
    seed: int
    profile: Profile
    workers: int
    cache: ReferenceCache

    def check(self) -> None:
        """Read every source that is not in the cache: a bad image is refused before anything is drawn."""
        for source in self.sources:
            if not self.cache.holds(source, self.profile):
                require_tissue(source.read(), source.name)

    def groups(self) -> Iterator[list[Reference]]:
        """References that are in use, taken apart, up to `GROUP` at a time."""
        used = self.sources[: min(len(self.sources), self.count)]
        for start in range(0, len(used), GROUP):
            yield list(ordered(lambda s: self.cache.get(s, self.profile), used[start : start + GROUP], self.workers))

    def images(self, start: int, group: Sequence[Reference], skip: Iterable[int] = ()) -> Iterator[Synthetic]:
        """The images drawn from `group`, whose first reference is number `start`, but for the indices in `skip`."""
        done = frozenset(skip)
        period = len(self.sources)
        wanted = [i for i in range(self.count) if start <= i % period < start + len(group) and i not in done]
        yield from ordered(lambda i: synthesize(group[i % period - start], i, self.seed, self.profile), wanted, self.workers)


def ordered(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """`map` in a pool of threads: results in order, few ahead of the consumer, nothing started after an error."""
    if workers <= 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="synthesis") as pool:
        ahead: list[Future[R]] = []
        try:
            for item in items:
                ahead.append(pool.submit(work, item))
                if len(ahead) > 2 * workers:
                    yield ahead.pop(0).result()
            while ahead:
                yield ahead.pop(0).result()
        finally:
            for future in ahead:
                future.cancel()
