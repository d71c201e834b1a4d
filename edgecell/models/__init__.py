"""The networks that edgecell trains, by name."""

from edgecell.models.registry import MODELS, build_model, describe_model

__all__ = ["MODELS", "build_model", "describe_model"]
