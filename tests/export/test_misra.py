"""The C runtime against MISRA C:2012 as cppcheck's addon checks it: what deviates is listed and argued in MISRA.md."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from scff_hw import paths

PATHS = {
    "plain": ["-DSCFF_SCALAR"],
    "portable": ["-D__ARM_ARCH=6", "-U__ARM_FEATURE_SIMD32", "-U__ARM_FEATURE_MVE", "-USCFF_SCALAR"],
    "SMLAD": ["-D__ARM_FEATURE_SIMD32", "-U__ARM_FEATURE_MVE"],
    "MVE": ["-D__ARM_FEATURE_MVE"],
}
SWITCH = re.compile(r"__ARM_\w+|SCFF_SCALAR")
"""What chooses the path, in one file."""
ROW = re.compile(r"^\| (?P<rule>\d+\.\d+) \| (?P<class>\w+) \| (?P<files>[^|]+) \| (?P<why>[^|]+) \|$", re.MULTILINE)


def listed(text: str) -> dict[tuple[str, str], str]:
    """Rule and file of each deviation in the document, and why it is one."""
    found: dict[tuple[str, str], str] = {}
    for row in ROW.finditer(text):
        for file in re.findall(r"`([\w.]+)`", row["files"]):
            assert (row["rule"], file) not in found, f"{row['rule']} of {file} is listed twice"
            found[row["rule"], file] = row["why"].strip()
    return found


def deviations(source: Path, where: str, defines: list[str], call: Any, tool: Any) -> set[tuple[str, str]]:
    said = call(
        *(tool("cppcheck"), "--addon=misra", "--std=c99", "--quiet", "--template={file}:{line}: {id}", *defines),
        *("-I", source / "include", source / where),
    )
    assert "Bailing out" not in said and "error" not in said.lower(), said
    return {(rule, Path(file).name) for file, rule in re.findall(r"^(.+):\d+: misra-c2012-(\S+)$", said, re.MULTILINE)}


def test_every_deviation_is_listed_and_every_listed_one_occurs(tmp_path: Path, call: Any, tool: Any) -> None:
    # cppcheck writes its dumps beside what it reads
    source = tmp_path / "c"
    shutil.copytree(paths.export() / "c", source)
    argued = listed((source / "MISRA.md").read_text(encoding="utf-8"))
    assert argued and all(len(why) > 20 for why in argued.values())
    sources = [path for folder in ("src", "include") for path in (source / folder).glob("*.[ch]")]
    assert [path.name for path in sources if SWITCH.search(path.read_text())] == ["scff_dot.c"]
    found = deviations(source, "src", PATHS["plain"], call, tool)
    for defines in list(PATHS.values())[1:]:
        # what is used elsewhere, in headers and by 8.7 (linkage), is for the whole runtime to say
        alone = deviations(source, "src/scff_dot.c", defines, call, tool)
        found |= {(rule, file) for rule, file in alone if file == "scff_dot.c" and rule != "8.7"}
    assert not found - set(argued), "deviations that export/c/MISRA.md does not argue"
    assert not set(argued) - found, "listed in export/c/MISRA.md, but they no longer occur"


def test_a_deviation_that_nobody_argued_is_found(tmp_path: Path, call: Any, tool: Any) -> None:
    """The addon runs: cppcheck without it, or with one that fails, would find nothing anywhere."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "new.c").write_text("int f(int x);\nint f(int x)\n{\n    goto end;\nend:\n    return x;\n}\n")
    (tmp_path / "include").mkdir()
    assert ("15.1", "new.c") in deviations(tmp_path, "src", ["-DSCFF_SCALAR"], call, tool)


@pytest.mark.parametrize("row", ["| 15.1 | advisory | `new.c` |  |", "| 15.1 | `new.c` | one says why |"])
def test_a_row_without_a_reason_lists_nothing(row: str) -> None:
    assert not listed(row).get(("15.1", "new.c"))
