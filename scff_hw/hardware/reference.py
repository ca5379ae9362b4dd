"""The JSON schema of hardware profiles and the key table of their README, from the pydantic schema.

Written by `python -m scff_hw.hardware.reference hardware_profiles`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from scff_hw.files import write_atomic
from scff_hw.hardware.schema import Profile
from scff_hw.recipes.keys import keys_of, with_unit

SCHEMA = "profile.schema.json"
BEGIN, END = "<!-- keys: written by python -m scff_hw.hardware.reference hardware_profiles -->", "<!-- end of keys -->"


def json_schema() -> str:
    """The JSON schema as text: what an editor checks a profile against while it is written."""
    schema = Profile.model_json_schema()
    schema["required"] = ["name", "description", "sources"]  # the rest may come from a preset
    for definition in (schema, *schema["$defs"].values()):
        for entry in definition["properties"].values():
            core = next((option for option in entry.get("anyOf", ()) if "unit" in option), entry)
            if "unit" in core and isinstance(entry.get("default"), float):
                entry["default"] = with_unit(entry["default"], core)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2) + "\n"


def key_table() -> str:
    """Every key of a profile as a Markdown table: what it may be, its default, what it means."""
    rows = [
        f"| `{key.dotted}` | {key.allowed} | {_default(key.default)} | {key.description} |" for key in keys_of(Profile)
    ]
    return "\n".join(["| key | allowed | default | meaning |", "| --- | --- | --- | --- |", *rows])


def readme(text: str) -> str:
    """`text` with the key table brought up to date between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{key_table()}\n{END}{after}"


def main() -> None:
    """Write both into the folder named on the command line."""
    folder = Path(sys.argv[1])
    write_atomic(folder / SCHEMA, json_schema().encode())
    page = folder / "README.md"
    write_atomic(page, readme(page.read_text(encoding="utf-8")).encode())


def _default(text: str | None) -> str:
    if text is None:
        return "required"
    return text if text == "the defaults below" else f"`{text}`"


if __name__ == "__main__":
    main()
