"""What makes the steps of a training, and how large they are."""

from __future__ import annotations

from typing import Any

import tf_keras as keras

from edgecell.config import TrainConfig


def cosine(rate: float, steps: int, warmup: float) -> Any:
    """Cosine decay to 1 % of ``rate`` after ``steps`` (Loshchilov and Hutter 2017, no restarts).

    With ``warmup`` steps the rate first rises from 1 % in a straight line (Goyal et al. 2017).
    """
    rising = min(round(warmup), max(0, steps - 1))
    if not rising:
        return keras.optimizers.schedules.CosineDecay(rate, steps, alpha=0.01)
    return keras.optimizers.schedules.CosineDecay(
        rate / 100, steps - rising, alpha=0.01, warmup_target=rate, warmup_steps=rising
    )


def make_optimizer(settings: TrainConfig, rate: Any) -> keras.optimizers.Optimizer:
    """Adam, AdamW (Loshchilov and Hutter 2019) or SGD with Nesterov momentum.

    Weight decay spares biases and BatchNorm, whose scale has no meaning of its own.
    """
    if settings.optimizer == "adam":
        return keras.optimizers.Adam(rate)
    if settings.optimizer == "sgd":
        chosen = keras.optimizers.SGD(
            rate,
            momentum=settings.momentum,
            nesterov=True,
            weight_decay=settings.weight_decay or None,
        )
    else:
        chosen = keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay)
    chosen.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return chosen
