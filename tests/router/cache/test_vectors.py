"""Vectors of questions: the nearest is found among few and among many, and what is forgotten is not found again."""

import numpy as np
import pytest

from infercast.router.cache.store import Kept
from infercast.router.cache.vectors import FEW, SpaceKey, Vector, Vectors
from tests.router.cache.test_store import kept, key

DIMENSIONS = 16


def space(name: str = "a") -> SpaceKey:
    return SpaceKey(key(""), name.encode(), "embedder")


def unit(dice: np.random.Generator) -> Vector:
    found = dice.normal(size=DIMENSIONS).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found), np.float32)


def filled(count: int) -> tuple[Vectors, list[tuple[Vector, Kept]]]:
    dice = np.random.default_rng(7)
    vectors, known = Vectors(), []
    for number in range(count):
        known.append((unit(dice), kept(str(number))))
        vectors.add(space(), *known[-1])
    return vectors, known


@pytest.mark.parametrize("count", [1, 3, FEW, FEW + 1, 5 * FEW])
def test_a_question_finds_itself_with_a_similarity_of_one(count: int) -> None:
    vectors, known = filled(count)
    for vector, one in known:
        found = vectors.nearest(space(), vector)
        assert found is not None
        assert found[0] is one
        assert found[1] == pytest.approx(1.0)


@pytest.mark.parametrize("count", [FEW, 5 * FEW])
def test_the_nearest_is_the_nearest(count: int) -> None:
    """A graph may miss one now and then; among so few it does not."""
    vectors, known = filled(count)
    dice = np.random.default_rng(8)
    right = 0
    for _ in range(50):
        vector = unit(dice)
        best = max(known, key=lambda pair: float(pair[0] @ vector))
        found = vectors.nearest(space(), vector)
        assert found is not None
        right += found[0] is best[1]
    assert right >= 48


def test_other_spaces_are_not_looked_into() -> None:
    vectors, known = filled(3)
    assert vectors.nearest(space("b"), known[0][0]) is None
    assert vectors.nearest(space()._replace(embedder="another"), known[0][0]) is None


@pytest.mark.parametrize("count", [3, 5 * FEW])
def test_what_is_forgotten_is_not_found_and_an_empty_space_is_gone(count: int) -> None:
    vectors, known = filled(count)
    for number, (vector, one) in enumerate(known):
        vectors.forget(one)
        vectors.forget(one)
        found = vectors.nearest(space(), vector)
        assert found is None or found[0] is not one
        assert (found is None) == (number == count - 1)
        assert len(vectors) == count - 1 - number
    assert vectors._spaces == {}
