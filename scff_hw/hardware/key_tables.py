"""Generates the JSON schemas of hardware profiles and the key tables of their README.

Command: `python -m scff_hw.hardware.key_tables hardware_profiles`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from scff_hw.config.keys import keys_of, with_unit
from scff_hw.files import write_atomic
from scff_hw.hardware.digital import Target
from scff_hw.hardware.schema import Profile

COMMAND = "python -m scff_hw.hardware.key_tables hardware_profiles"
END = "<!-- end of keys -->"


@dataclass(frozen=True)
class Reference:
    """One kind of profile: schema, file name of its JSON schema, marker before its key table.

    Attributes:
        required: keys that cannot come from a preset.
    """

    model: type[BaseModel]
    file: str
    begin: str
    required: tuple[str, ...]


REFERENCES = (
    Reference(
        Profile, "profile.schema.json", f"<!-- keys: written by {COMMAND} -->", ("name", "description", "sources")
    ),
    Reference(
        Target,
        "target.schema.json",
        f"<!-- keys of digital targets: written by {COMMAND} -->",
        ("kind", "name", "description", "sources"),
    ),
)


def json_schema(reference: Reference) -> str:
    """Return the JSON schema of one kind of profile as text, for validation in editors."""
    schema = reference.model.model_json_schema()
    schema["required"] = list(reference.required)
    for definition in (schema, *schema["$defs"].values()):
        for entry in definition["properties"].values():
            core = next((option for option in entry.get("anyOf", ()) if "unit" in option), entry)
            if "unit" in core and isinstance(entry.get("default"), float):
                entry["default"] = with_unit(entry["default"], core)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2) + "\n"


def key_table(reference: Reference) -> str:
    """Return a Markdown table of all keys of one kind of profile: allowed values, default, meaning."""
    rows = [
        f"| `{key.dotted}` | {key.allowed} | {_default(key.default)} | {key.description} |"
        for key in keys_of(reference.model)
    ]
    return "\n".join(["| key | allowed | default | meaning |", "| --- | --- | --- | --- |", *rows])


def readme(text: str) -> str:
    """Return `text` with the key tables between the markers replaced."""
    for reference in REFERENCES:
        before, _, rest = text.partition(reference.begin)
        _, _, after = rest.partition(END)
        text = f"{before}{reference.begin}\n{key_table(reference)}\n{END}{after}"
    return text


def main() -> None:
    """Write all files into the folder named on the command line."""
    folder = Path(sys.argv[1])
    for reference in REFERENCES:
        write_atomic(folder / reference.file, json_schema(reference).encode())
    page = folder / "README.md"
    write_atomic(page, readme(page.read_text(encoding="utf-8")).encode())


def _default(text: str | None) -> str:
    if text is None:
        return "required"
    return text if text == "the defaults below" else f"`{text}`"


if __name__ == "__main__":
    main()
