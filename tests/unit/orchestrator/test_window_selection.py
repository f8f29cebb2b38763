"""Properties of the choice of patches, and of the power noise behind it."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from nucleate.orchestrator.loop.window_selection import Candidate, select

candidates = st.builds(
    Candidate,
    image_id=st.sampled_from(["a", "b", "c"]),
    x=st.integers(0, 90),
    y=st.integers(0, 90),
    width=st.just(30),
    height=st.just(30),
    uncertainty=st.floats(0, 0.7),
    nuclei=st.integers(0, 40),
    features=st.tuples(st.floats(-5, 5), st.floats(0, 255)),
)


def place(window: Candidate) -> tuple[str, int, int]:
    return window.image_id, window.x, window.y


many = st.lists(candidates, max_size=25, unique_by=place)


@settings(max_examples=60, deadline=None)
@given(many, st.lists(candidates, max_size=3), st.integers(0, 8), st.integers(1, 3), st.integers(0, 9), st.randoms())
def test_choice_obeys_its_rules_whatever_the_order(windows, taken, count, per_image, seed, shuffler) -> None:  # noqa: PLR0917 -- drawn by name
    chosen = select(windows, taken, count=count, per_image=per_image, seed=seed)
    assert len(chosen) <= count
    assert all(window in windows for window in chosen)
    assert not any(a.overlaps(b) for a, b in combinations(chosen, 2))
    assert not any(a.overlaps(b) for a in chosen for b in taken)
    assert all(number <= per_image for number in Counter(each.image_id for each in chosen).values())
    shuffler.shuffle(windows)
    assert select(windows, taken, count=count, per_image=per_image, seed=seed) == chosen


@settings(max_examples=40, deadline=None)
@given(many, st.integers(1, 6))
def test_fewer_come_back_only_where_nothing_more_fits(windows, count) -> None:
    chosen = select(windows, [], count=count, per_image=99, seed=1)
    if len(chosen) < count:
        rest = [each for each in windows if each not in chosen and each.nuclei >= max(w.nuclei for w in windows)]
        assert all(any(each.overlaps(other) for other in chosen) for each in rest)


def row(uncertainty: float, index: int, feature: float = 0.0, nuclei: int = 10) -> Candidate:
    return Candidate(f"image-{index}", 0, 0, 10, 10, uncertainty, nuclei, (feature,))


def test_unsure_windows_come_first_mostly_but_not_always() -> None:
    windows = [row(0.6 if index < 5 else 0.2, index) for index in range(50)]
    sure = sum(each.uncertainty < 0.5 for seed in range(200) for each in select(windows, [], count=1, per_image=1, seed=seed))
    # P(a sure one first) = 45 * .2^4 / (45 * .2^4 + 5 * .6^4) = 0.1
    assert 5 <= sure <= 40


def test_alike_windows_are_not_taken_twice() -> None:
    windows = [row(0.5, index, feature=0.0) for index in range(6)] + [row(0.5, 9, feature=10.0)]
    for seed in range(20):
        features = {each.features[0] for each in select(windows, [], count=2, per_image=1, seed=seed)}
        assert features == {0.0, 10.0}


def test_empty_tissue_is_left_out_unless_there_is_nothing_else() -> None:
    windows = [row(0.6, 0, nuclei=0), row(0.1, 1, nuclei=20)]
    assert [each.nuclei for each in select(windows, [], count=2, per_image=1, seed=0)] == [20]
    assert len(select(windows[:1], [], count=2, per_image=1, seed=0)) == 1
