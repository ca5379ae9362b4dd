"""YAML documents of recipes and hardware profiles: keys, overrides, sentences about what is wrong."""
