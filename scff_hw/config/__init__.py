"""YAML documents of recipes and hardware profiles: keys, overrides, error sentences."""
