"""Hardware profiles from YAML files, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scff_hw import paths
from scff_hw.errors import ProfileError, RecipeError, nearest
from scff_hw.hardware.schema import Profile
from scff_hw.recipes.document import read_document
from scff_hw.recipes.keys import keys_of
from scff_hw.recipes.loader import dump_yaml
from scff_hw.recipes.overrides import apply_overrides
from scff_hw.recipes.problems import describe_problems, find_place
from scff_hw.recipes.yamltext import KeyPath, parse_yaml, show

SECTIONS = ("device", "periphery", "array", "learning")
UNSOURCED = "defaults of scff-hw"
"""The source of figures that no file gives."""


def load_profile(name_or_path: str | Path, overrides: Iterable[str] = (), option: str = "--profile-set") -> Profile:
    """Load a hardware profile and validate it.

    Args:
        name_or_path: a shipped profile's name (see `list_profiles`), or the path of a YAML file.
        overrides: `key=value` texts applied in order before validation, such as `device.response.write_noise=0.1 w`.
        option: what errors call the overrides.

    Raises:
        ProfileError: an unknown name, a file that cannot be read or is not YAML, an unknown key or preset, a figure
            without unit or source, a value out of range. One sentence a problem, one a line, each with its place.
    """
    try:
        text, source = read_document(name_or_path, "profile", _shipped())
        return _parse(text, source, overrides, option)
    except RecipeError as error:
        raise ProfileError(str(error)) from None


def parse_profile(text: str, source: str) -> Profile:
    """Validate a profile from YAML text; `source` is what errors call it. Otherwise as `load_profile`."""
    try:
        return _parse(text, source, (), "")
    except RecipeError as error:
        raise ProfileError(str(error)) from None


def profile_names() -> tuple[str, ...]:
    """Names of the shipped profiles, sorted."""
    return tuple(_shipped())


def list_profiles() -> dict[str, str]:
    """The shipped profiles: description by name, sorted by name."""
    return {name: load_profile(name).description for name in profile_names()}


def dump_profile(profile: Profile) -> str:
    """A profile as YAML text, every figure written out with its unit, that loads back to an equal profile."""
    return dump_yaml(profile.model_dump(mode="json"))


@cache
def _shipped() -> dict[str, Path]:
    return {path.stem: path for path in sorted(paths.hardware_profiles().glob("*.yaml"))}


def _parse(text: str, source: str, overrides: Iterable[str], option: str) -> Profile:
    data, places = _document(text, source)
    if (name := data.get("preset")) is not None:
        data = _on_preset(data, name, find_place({(): source, **places}, ("preset",)))
    known: dict[KeyPath, str] = {(): source, **places}
    apply_overrides(data, known, overrides, model=Profile, option=option, example="device.response.write_noise=0.1 w")
    if isinstance(data.get("sources"), dict):
        data["sources"] = {section: UNSOURCED for section in SECTIONS} | data["sources"]
    try:
        return Profile.model_validate(data)
    except ValidationError as error:
        raise ProfileError(describe_problems(error, data, known, Profile)) from None


def _document(text: str, source: str) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    data, places = parse_yaml(text, source)
    if not isinstance(data, dict):
        found = "the text is empty" if data is None else f"got {show(data)}"
        wanted = "a profile must be a mapping with name, description, sources, device, ..."
        raise ProfileError(f"{source}: {wanted}; {found}")
    _check_sources(data, {(): source, **places})
    return data, places


def _on_preset(data: Mapping[str, Any], name: Any, place: str) -> dict[str, Any]:
    """`data` laid over the shipped profile `name`."""
    shipped = _shipped()
    if not isinstance(name, str) or name not in shipped:
        hint = nearest(str(name), shipped)
        raise ProfileError(f"{place}: preset must be one of {', '.join(shipped)}, got {show(name)}{hint}")
    below, _ = _document(shipped[name].read_text("utf-8"), f"{name}.yaml")
    if (further := below.get("preset")) is not None:
        below = _on_preset(below, further, f"{name}.yaml")
    return _merged(below, data)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = deepcopy(dict(below))
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _check_sources(data: Mapping[str, Any], places: Mapping[KeyPath, str]) -> None:
    """Every figure a file gives must have a source in that file, and every source must be of something."""
    sources = data.get("sources")
    if not isinstance(sources, dict):
        return  # validation says what is wrong
    keys = {key.dotted for key in keys_of(Profile)}
    for name in sources:
        if name not in keys or name.partition(".")[0] not in SECTIONS:
            place = find_place(places, ("sources", name))
            raise ProfileError(
                f"{place}: sources must name sections or dotted keys below {', '.join(SECTIONS)}, "
                f"got {show(name)}{nearest(name, keys)}"
            )
    for section in SECTIONS:
        for path in _leaves(data.get(section), (section,)):
            if not any(".".join(path[:length]) in sources for length in range(1, len(path) + 1)):
                dotted = ".".join(path)
                raise ProfileError(
                    f"{find_place(places, path)}: {dotted} has no source, give one under sources: "
                    f"{section}: ... for the whole section, or {dotted}: ... for this figure"
                )


def _leaves(node: Any, path: KeyPath) -> Iterator[KeyPath]:
    if not isinstance(node, dict):
        if node is not None:
            yield path
        return
    for key, value in node.items():
        yield from _leaves(value, (*path, key))
