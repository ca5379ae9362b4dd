"""Generator of the page of recipe keys, from the schema.

Command: `python -m scff_hw.recipes.key_page scff_hw/recipes/README.md`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from scff_hw.config.keys import Key, keys_of
from scff_hw.config.problems import LAYER_KINDS
from scff_hw.files import write_atomic
from scff_hw.recipes.loader import list_recipes
from scff_hw.recipes.schema import Recipe

_INTRODUCTION = """\
# Recipes

A recipe is one YAML file with everything that an experiment depends on, except the seed and the hardware. It is
YAML 1.2: `1e-3` is a number, `yes` is text. Unknown keys, duplicate keys, wrong types and values out of range
are refused; the error names the file, line, key, allowed values and nearest match.

```
scff-hw recipes list
scff-hw recipes show mnist-mlp
scff-hw train mnist-mlp --set layers.2.learn.epochs=3 --set training.batch_size=50
scff-hw train mnist-mlp --set layers.*.learn.epochs=1
scff-hw train my-recipe.yaml
```

`--set` takes any key below with a YAML value. Layers count from 1; `*` selects every layer.
"""


def recipe_page() -> str:
    """Render the README of this folder as Markdown: introduction, packaged recipes, all keys."""
    recipes = "\n".join(f"| `{name}` | {description} |" for name, description in list_recipes().items())
    keys = "\n".join(_row(keys) for keys in _grouped())
    return (
        f"{_INTRODUCTION}\n## Packaged recipes\n\n| name | description |\n| --- | --- |\n{recipes}\n\n"
        "## Keys\n\nAppendices, tables and algorithms are those of the SCFF paper (arXiv 2409.11593).\n\n"
        f"| key | allowed | default | meaning |\n| --- | --- | --- | --- |\n{keys}\n"
    )


def main() -> None:
    """Write the page atomically to the file named on the command line."""
    write_atomic(Path(sys.argv[1]), recipe_page().encode())


def _grouped() -> list[list[Key]]:
    """Return the keys in schema order; equal keys of several layer kinds form one group."""
    groups: dict[str, list[Key]] = {}
    for key in keys_of(Recipe):
        groups.setdefault(key.dotted, []).append(key)
    return list(groups.values())


def _row(keys: list[Key]) -> str:
    key = keys[0]
    kinds = "; ".join(f"{entry.allowed}: {entry.description}" for entry in keys)
    allowed, meaning = key.allowed, key.description
    if key.path == ("layers", "*", "kind"):
        allowed, meaning = "one of " + ", ".join(entry.allowed for entry in keys), kinds
    elif key.layer_kind and len(keys) < len(LAYER_KINDS):
        meaning = f"{' and '.join(entry.layer_kind or '' for entry in keys)} only: {meaning}"
    default = "required" if key.default is None else f"`{key.default}`"
    if key.default == "the defaults below":
        default = key.default
    return f"| `{key.dotted}` | {allowed} | {default} | {meaning} |"


if __name__ == "__main__":
    main()
