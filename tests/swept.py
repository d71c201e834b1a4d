"""The results of a sweep of 27 cells, drawn for a seed, as sweep.json holds them."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from benchmarks.choice import LABEL_NOTES, NOTES, Limits, choose
from benchmarks.joint_draws import JointDraws
from benchmarks.pareto import pareto_front
from edgecell.evaluate import evaluate
from edgecell.tasks import MULTI_LABEL

CLASSES = ("basophil", "eosinophil", "immature granulocytes <&>", "lymphocyte")
_BYTES = {"float16": 2.1, "dynamic": 1.4, "int8": 1.5}
_SPEED = {"float16": 1.0, "dynamic": 1.4, "int8": 0.7}


def ms(value: float) -> dict[str, Any]:
    return {"value": value, "unit": "ms", "n": 1024, "low": value * 0.97, "high": value * 1.04}


def cells(images: int = 400) -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    labels = np.arange(images) % len(CLASSES)
    found = []
    for alpha, side, precision in product((0.35, 0.5, 0.75), (64, 96, 128), _BYTES):
        skill = 0.965 + 0.02 * alpha + 0.0002 * (side - 96) - 0.004 * (precision == "int8")
        wrong = random.random(images) > skill
        said = np.where(wrong, random.integers(0, len(CLASSES), images), labels)
        probabilities = np.full((images, len(CLASSES)), 0.02) + 0.92 * np.eye(len(CLASSES))[said]
        quality = evaluate(probabilities, labels, CLASSES, resamples=50)
        network = f"mobilenet_v2-{alpha}-{side}"
        found.append(
            {
                "name": f"{network}-{precision}",
                "network": network,
                "model": "mobilenet_v2",
                "alpha": alpha,
                "image_size": side,
                "precision": precision,
                "state": "here",
                "file": f"networks/{network}/quantize/{network}-{precision}.tflite",
                "passed": not (precision == "int8" and alpha == 0.35 and side == 64),
                "verdict": "equivalent",
                "quality": quality,
                "size": {"value": int(4e5 * _BYTES[precision] * (0.5 + alpha**2)), "unit": "bytes"},
                "accuracy": quality["accuracy"],
                "macro_f1": quality["macro_f1"],
                "worst_class": quality["worst_class"],
                "p50": ms(0.15 * _SPEED[precision] * (side / 64) ** 2 * (0.6 + alpha)),
                "p90": ms(0.19 * _SPEED[precision] * (side / 64) ** 2 * (0.6 + alpha)),
                "ratio": {"value": _SPEED[precision] * (side / 64) ** 2, "unit": "1"},
                "front": None,
                "front_share": {"reason": "verify refused it", "unit": "fraction"},
            }
        )
    return found


def label_cells(images: int = 150) -> list[dict[str, Any]]:
    """The cells of :func:`cells`, each with the quality of a ranking of several labels to an image."""
    random = np.random.default_rng(1)
    labels = (random.random((images, len(CLASSES))) < 0.3).astype(np.int64)
    noise = random.normal(0, 1, labels.shape)
    found = []
    for place, cell in enumerate(cells(40)):
        odds = noise + random.normal(0, 0.3, labels.shape) + (1 + place / 20) * labels - 2
        quality = evaluate(1 / (1 + np.exp(-odds)), labels, CLASSES, resamples=50)
        scores = {key: quality[key] for key in ("auc", "accuracy", "macro_f1", "worst_class")}
        found.append(cell | {"quality": quality} | scores)
    return found


def draws(cells: list[dict[str, Any]], score: str) -> JointDraws:
    """Draws of 4,000 images around the cells' scores: what is hard is hard for all of them."""
    random = np.random.default_rng(2)
    common, own = random.normal(0, 0.01, (1000, 1)), random.normal(0, 0.002, (1000, len(cells)))
    scores = np.array([cell[score]["value"] for cell in cells]) + common + own
    return JointDraws(tuple(cell["name"] for cell in cells), 4000, {score: scores})


def results(
    limits: Limits | None = None, *, several: bool = False, margin: float = 0.02, **changed: Any
) -> dict[str, Any]:
    """Sweep results with an answer for ``limits``; ``changed`` replaces parts.

    ``several``: an image can have several labels. ``margin``: what a smaller cell may lose.
    """
    found = label_cells() if several else cells()
    score = "auc" if several else "macro_f1"
    able = [cell for cell in found if cell["passed"]]
    keys = ("size", "p50")
    costs = [[1 - c[score]["value"], *(c[key]["value"] for key in keys)] for c in able]
    for cell, on in zip(able, pareto_front(np.array(costs)), strict=True):
        share = 0.9 if on else 0.1
        cell |= {"front": bool(on), "front_share": {"value": share, "unit": "fraction", "n": 1000}}
    answer = None
    if limits:
        prefer = "auc" if several else "f1"
        answer = choose(found, limits, prefer, score, draws(found, score), margin)
        chosen = next((c for c in found if c["name"] == answer["cell"]), None)
        answer["test"] = None
        if answer["met"] and chosen is not None:
            figures = ("auc",) if several else ()
            answer["test"] = {
                "n": 400,
                **{k: chosen[k] for k in (*figures, "accuracy", "macro_f1", "worst_class")},
            }
    return (
        ({"task": MULTI_LABEL} if several else {})
        | {
            "study": "blood",
            "grid": {"alphas": [0.35, 0.5, 0.75]},
            "by": score,
            "val_images": 400,
            "class_names": list(CLASSES),
            "reference": found[0]["name"],
            "device": {"kind": "host", "name": "a processor"},
            "host": {"cpu": "a processor", "cores": 2},
            "cells": found,
            "front": [cell["name"] for cell in found if cell["front"]],
            "answer": answer,
            "workers": {},
            "warnings": [],
            "notes": list(LABEL_NOTES if several else NOTES),
        }
        | changed
    )
