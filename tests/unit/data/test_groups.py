from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from edgecell.data.groups import dependence_line, share_out, together
from edgecell.errors import DataError

FRACTIONS = {"val": 0.1, "test": 0.2}
NAMES = ("a", "b", "c", "d", "e")


def smear(rng, classes: int, groups: int, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """(labels, group of each image): every group mostly of one class, of 1 to ``largest`` images."""
    labels, owner = [], []
    for group in range(groups):
        size = int(rng.integers(1, largest + 1))
        main = group % classes
        mixed = rng.random(size) < 0.1
        labels += np.where(mixed, rng.integers(0, classes, size), main).tolist()
        owner += [group] * size
    return np.array(labels), np.array(owner)


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 5), largest=st.integers(1, 12))
def test_no_group_and_no_copy_is_cut_and_every_class_is_everywhere(seed, classes, largest):
    rng = np.random.default_rng(seed)
    labels, owner = smear(rng, classes, classes * 12, largest)
    copies = np.arange(len(labels))
    copies[rng.integers(0, len(labels), 4)] = copies[rng.integers(0, len(labels), 4)]
    split = share_out(labels, NAMES[:classes], owner.tolist(), copies.tolist(), FRACTIONS, seed)
    for keys in (owner, copies):
        for key in np.unique(keys):
            assert len(set(split[keys == key])) == 1
    for name in ("train", "val", "test"):
        assert set(labels[split == name]) == set(range(classes))


def worst_share(labels, split, fractions, classes) -> float:
    """The largest distance of a class's share in a split from the wanted share."""
    return max(
        abs(np.mean(split[labels == c] == name) - fraction)
        for name, fraction in fractions.items()
        for c in range(classes)
    )


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_as_near_as_scikit_learn_s_folds_bring_them(seed):
    rng = np.random.default_rng(seed)
    labels, owner = smear(rng, 4, 160, 20)
    ours = share_out(labels, NAMES[:4], owner.tolist(), range(len(labels)), {"test": 0.2}, seed)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(labels, labels, owner)
    theirs = []
    for _, test in folds:
        split = np.full(len(labels), "train")
        split[test] = "test"
        theirs.append(worst_share(labels, split, {"test": 0.2}, 4))
    assert worst_share(labels, ours, {"test": 0.2}, 4) <= np.mean(theirs)
    # A class has 40 groups of at most 20 of about 420 images: one group more or less is 0.05.
    assert worst_share(labels, ours, {"test": 0.2}, 4) < 0.05


def test_the_seed_alone_decides():
    labels, owner = smear(np.random.default_rng(0), 3, 60, 5)
    one, same, other = (
        share_out(labels, NAMES[:3], owner.tolist(), range(len(labels)), FRACTIONS, seed)
        for seed in (1, 1, 2)
    )
    assert (one == same).all()
    assert (one != other).any()


def test_too_few_groups_of_a_class_are_named():
    labels = np.array([0] * 9 + [1] * 9)
    owner = [*range(9), *([9] * 5), *([10] * 4)]
    with pytest.raises(DataError, match=r"too few groups to make 3 splits of: 'b' 2; each class"):
        share_out(labels, NAMES[:2], owner, range(18), FRACTIONS, 0)
    assert set(share_out(labels, NAMES[:2], owner, range(18), {"test": 0.2}, 0)) == {
        "train",
        "test",
    }


def test_a_class_that_shares_all_its_groups_may_have_no_way():
    # Class b lives in one group with most of a and in two with all of c: val cannot have c and train too.
    labels = np.array([0, 0, 1, 0, 2, 0, 2])
    owner = [0, 0, 0, 1, 1, 2, 2]
    with pytest.raises(DataError, match="too few groups"):
        share_out(labels, NAMES[:3], owner, range(7), FRACTIONS, 0)


def test_a_rare_class_is_brought_into_every_split_by_a_move():
    # Three groups of the rare class; the rule alone would leave them all where the images are needed.
    labels = np.concatenate([np.zeros(300, int), np.ones(3, int)])
    owner = [*(np.arange(300) // 10).tolist(), 100, 101, 102]
    for seed in range(10):
        split = share_out(labels, NAMES[:2], owner, range(303), {"val": 0.05, "test": 0.05}, seed)
        assert sorted(split[-3:]) == ["test", "train", "val"]


def test_images_are_linked_in_chains_of_either_key():
    groups = ["p", "p", "q", "q", "r", "s"]
    copies = [1, 2, 2, 3, 4, 5]
    assert together(groups, copies).tolist() == [0, 0, 0, 0, 1, 2]
    assert together(["x", "y"], ["x", "x"]).tolist() == [0, 0]
    assert together(["x", "y"], ["y", "x"]).tolist() == [0, 1]  # keys of different kinds never meet


def test_images_of_a_group_are_said_and_images_alone_are_not():
    assert dependence_line("val", 1342, 61) == (
        "val: 1,342 images of 61 groups: intervals take images as independent, so they are too narrow"
    )
    assert dependence_line("val", 61, 61) == dependence_line("val", 61, None) == ""
