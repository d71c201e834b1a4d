"""A local page for trying a model: images come in over loopback, answers go out, nothing is stored."""
