"""A verified model as what an app team ships: ``docs/bundle-format.md`` is its contract."""
