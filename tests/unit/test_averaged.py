"""Ensembles and test-time augmentation: means of answers, and of answers to eight views."""

from __future__ import annotations

import numpy as np
import pytest
import toys

from edgecell.averaged import AveragedPredictor, views
from edgecell.errors import DataError
from edgecell.runtime import KerasPredictor, TFLitePredictor


class Fixed:
    """A Predictor that answers by a rule, to see what it is shown."""

    name, class_count, output_scale = "fixed", 2, None

    def __init__(self, size: tuple[int, int] = (4, 4)) -> None:
        self.image_size = size

    def predict(self, images: np.ndarray) -> np.ndarray:
        corner = images[:, 0, 0, 0].astype(np.float32) / 255
        return np.stack([corner, 1 - corner], axis=1)


def test_the_eight_views_are_the_symmetries_of_the_square():
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(1, 4, 4, 3)
    shown = views(image)
    assert len({view.tobytes() for view in shown}) == 8
    np.testing.assert_array_equal(shown[0], image)
    for view in shown:
        assert sorted(view.ravel()) == sorted(image.ravel())
        np.testing.assert_array_equal(sorted(map(tuple, view.reshape(-1, 3))), image.reshape(-1, 3))


def test_views_see_every_corner_twice():
    image = np.zeros((1, 4, 4, 3), np.uint8)
    image[0, 0, 0], image[0, 0, 3], image[0, 3, 0], image[0, 3, 3] = 0, 51, 102, 255
    found = AveragedPredictor([Fixed()], tta=True).predict(image)
    assert found[0, 0] == pytest.approx((0 + 51 + 102 + 255) / 4 / 255, abs=1e-6)
    alone = AveragedPredictor([Fixed()]).predict(image)
    assert alone[0, 0] == 0


def test_an_ensemble_answers_with_the_mean():
    images = toys.images(12, seed=4)[0]
    members = [KerasPredictor(toys.trained()), TFLitePredictor(toys.converted("int8"), name="i8")]
    team = AveragedPredictor(members)
    expected = (members[0].predict(images) + members[1].predict(images)) / 2
    np.testing.assert_allclose(team.predict(images), expected, atol=1e-6)
    assert team.output_scale is None
    assert "i8" in team.name
    assert AveragedPredictor(members[1:]).output_scale == members[1].output_scale


def test_members_that_do_not_go_together_are_refused():
    with pytest.raises(DataError, match="must agree in both"):
        AveragedPredictor([Fixed(), Fixed((8, 8))])
    with pytest.raises(DataError, match="need a square"):
        AveragedPredictor([Fixed((4, 8))], tta=True)
