"""Many synthetic images from many references: order, parallelism and the cache of references.

References take turns: image i is drawn from reference i mod n. They are analysed in groups, so that a pool of any size
needs the memory of one group only.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nucleate.pathology.stains import macenko_stains
from nucleate.pathology.stains.tissue import require_tissue, tissue_mask
from nucleate.synthesis.analysis.reference import Reference, analyse_reference
from nucleate.synthesis.generation.stain_variation import ImageStains
from nucleate.synthesis.generation.synthetic_image import SyntheticPair, synthesize
from nucleate.synthesis.profiles import Profile

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
        self._pool_stains: dict[tuple[str, str], ImageStains] = {}
        self._lock = threading.Lock()

    def holds(self, source: Source, profile: Profile) -> bool:
        """Whether `get` would be quick."""
        return _key(source, profile) in self._kept

    def get(self, source: Source, profile: Profile) -> Reference:
        """The analysis of the source; raises what `Source.read` and `analyse_reference` raise."""
        key = _key(source, profile)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        reference = analyse_reference(source.read(), source.name, profile)
        with self._lock:
            self._kept[key] = reference
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        return reference

    def stains_of(self, source: Source) -> ImageStains:
        """The stains of a source, measured once: eight numbers, which are all kept. Raises what `Source.read` raises."""
        key = source.key, source.name
        if key not in self._pool_stains:
            rgb = source.read()
            self._pool_stains[key] = ImageStains(source.name, macenko_stains.measure(rgb[tissue_mask(rgb)]))
        return self._pool_stains[key]


def _key(source: Source, profile: Profile) -> tuple[str, str, Profile]:
    return source.key, source.name, profile.for_references()


@dataclass(frozen=True)
class Batch:
    """Images `first` to `first` + `count` - 1 of the run `seed`, drawn from `sources` (at least one) by `workers` threads.

    Ranges that follow each other give the images of one range over all: replicas share a run without knowing of each other.
    """

    sources: Sequence[Source]
    count: int
    seed: int
    profile: Profile
    workers: int
    cache: ReferenceCache
    first: int = 0

    @property
    def indices(self) -> range:
        """The images to draw."""
        return range(self.first, self.first + self.count)

    def check(self) -> None:
        """Read every source that is not in the cache: a bad image is refused before anything is drawn."""
        for source in self.sources:
            if not self.cache.holds(source, self.profile):
                require_tissue(source.read(), source.name)

    def groups(self) -> Iterator[dict[int, Reference]]:
        """References that are in use by their number, analysed, up to `GROUP` at a time."""
        period = len(self.sources)
        used = sorted({index % period for index in self.indices[:period]})
        for start in range(0, len(used), GROUP):
            numbers = used[start : start + GROUP]
            references = ordered_map(lambda k: self.cache.get(self.sources[k], self.profile), numbers, self.workers)
            yield dict(zip(numbers, references, strict=True))

    def images(self, group: Mapping[int, Reference], skip: Iterable[int] = ()) -> Iterator[SyntheticPair]:
        """The images drawn from `group`, as of `groups`, but for the indices in `skip`."""
        done = frozenset(skip)
        period = len(self.sources)
        wanted = [i for i in self.indices if i % period in group and i not in done]
        pool = self._pool_stains()
        yield from ordered_map(lambda i: synthesize(group[i % period], i, self.seed, self.profile, pool), wanted, self.workers)

    def _pool_stains(self) -> list[ImageStains]:
        """The stains of every source, also of those that no image of this range is drawn from."""
        if not self.profile.restained:
            return []
        return list(ordered_map(self.cache.stains_of, self.sources, self.workers))


def ordered_map(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
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
