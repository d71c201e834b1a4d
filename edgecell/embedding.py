"""How a network sorts images: their last features, laid out in a plane, and who their neighbours are.

t-SNE (van der Maaten and Hinton 2008) as scikit-learn computes it, on the first principal components.
Distances between clusters and sizes of clusters in its plane mean nothing; that is why the purity of
neighbourhoods is counted in the features themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from edgecell import metrics
from edgecell.errors import DataError
from edgecell.record import Measurement
from edgecell.tasks import several_labels

LEAST = 10
"""Images below which a plane of neighbours says nothing."""

COMPONENTS = 50
"""Principal components that t-SNE works on, as its authors do: the rest is mostly noise, and slow."""

_TRUSTED = 5_000  # images up to which all distances fit into memory
_RESAMPLES = 1_000


@dataclass(frozen=True)
class Plane:
    """``points`` float32 (N, 2) in no unit; how they were made."""

    points: NDArray[np.float32]
    facts: dict[str, Any]


def plane(features: NDArray[np.float32], *, perplexity: float, seed: int) -> Plane:
    """Lay out features (N, F) by t-SNE, from their first two components on: the same on one machine.

    ``perplexity``, about the number of neighbours that count, is kept to (N − 1) / 3 at most.

    Raises:
        DataError: fewer than ``LEAST`` images, features that are not finite, or all alike.
    """
    count, width = features.shape
    if count < LEAST:
        raise DataError(f"{count} images are too few for a map of neighbours; {LEAST} are needed")
    if not np.isfinite(features).all():
        raise DataError("the model gives features that are not finite: its training diverged")
    if (features == features[0]).all():
        raise DataError("the model gives the same features for every image: it has learnt nothing")
    used = min(perplexity, (count - 1) / 3)
    components = min(COMPONENTS, count, width)
    # Sums over threads would come out in another order each time.
    with threadpool_limits(limits=1):
        pca = PCA(components, svd_solver="full").fit(features)
        shortened = pca.transform(features)
        if components == 1:  # the first layout takes two
            shortened = np.pad(shortened, ((0, 0), (0, 1)))
        tsne = TSNE(perplexity=used, init="pca", random_state=seed, n_jobs=1)
        points = tsne.fit_transform(shortened)
    facts = {
        "method": "t-SNE",
        "perplexity": used,
        "seed": seed,
        "components": components,
        "explained_variance": float(pca.explained_variance_ratio_.sum()),
        "divergence": float(tsne.kl_divergence_),
    }
    return Plane(points.astype(np.float32), facts)


def nearest(features: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The ``k`` nearest other images of each by Euclidean distance, int64 (N, k); k < N."""
    # Without query points scikit-learn leaves each image itself out.
    found = NearestNeighbors(n_neighbors=k).fit(features).kneighbors(return_distance=False)
    return np.asarray(found, np.int64)


def neighbourhoods(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    *,
    k: int,
    seed: int = 0,
) -> dict[str, Any]:
    """Purity: the share of an image's ``k`` nearest others in the features that are of its class.

    Args:
        features: (N, F). labels: int (N,), or (N, C) of 0 and 1 where several hold at once.
        k: at most N − 1 are taken. seed: of the bootstrap.

    Returns:
        ``purity``, the mean over images with a percentile bootstrap interval over them, ``chance``,
        what images without any order would have, and both for each class, with ``best``, what a class
        of so few images can reach: 1.0 where there are more than ``k`` of it. With several labels a
        label's purity is taken over the images that have it, and the whole is the mean of labels.
    """
    count = len(features)
    used = min(k, count - 1)
    near = nearest(features, used)
    several = several_labels(labels)
    classes, shares, chances = [], [], []
    for number, name in enumerate(class_names):
        mine = labels[:, number] == 1 if several else labels == number
        support = int(mine.sum())
        entry: dict[str, Any] = {"name": name, "support": support}
        if support:
            share = mine[near[mine]].mean(axis=1)
            entry["purity"] = _mean(share, seed).to_json()
            entry["chance"] = (support - 1) / (count - 1)
            entry["best"] = min(1.0, (support - 1) / used)
            shares.append(share)
            chances.append(entry["chance"])
        else:
            reason = f"no image {'with this label' if several else 'of this class'}"
            entry["purity"] = Measurement.missing("fraction", reason).to_json()
        classes.append(entry)
    if not shares:
        whole = Measurement.missing("fraction", "no image has any label")
        chance = 0.0
    elif several:
        whole = Measurement(float(np.mean([each.mean() for each in shares])), "fraction", n=count)
        chance = float(np.mean(chances))
    else:
        whole = _mean(np.concatenate(shares), seed)
        sizes = np.array([len(each) for each in shares])
        chance = float((sizes * np.array(chances)).sum() / count)
    return {"neighbours": used, "purity": whole.to_json(), "chance": chance, "classes": classes}


def trust(features: NDArray[np.float32], points: NDArray[np.float32], k: int) -> Measurement:
    """How far the plane's neighbours are neighbours in the features too, 0…1 (Venna and Kaski 2001)."""
    count = len(features)
    if count > _TRUSTED:
        return Measurement.missing("fraction", f"computed for up to {_TRUSTED:,} images")
    # Defined for fewer neighbours than half of the images.
    used = min(k, (count - 1) // 2)
    return Measurement(
        float(trustworthiness(features, points, n_neighbors=used)), "fraction", count
    )


def _mean(values: NDArray[np.float64], seed: int) -> Measurement:
    count = len(values)
    random = np.random.default_rng(seed)
    weights = random.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)
    interval = metrics.percentile_interval(weights @ values / count)
    return Measurement(
        float(values.mean()), "fraction", n=count, low=interval.low, high=interval.high
    )
