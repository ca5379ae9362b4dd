"""Reads and writes hardware profiles as YAML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scff_hw import paths
from scff_hw.config.document import read_document
from scff_hw.config.keys import keys_of
from scff_hw.config.overrides import apply_overrides
from scff_hw.config.problems import describe_problems, find_location
from scff_hw.config.yamltext import KeyPath, parse_yaml, show
from scff_hw.errors import ProfileError, RecipeError, nearest
from scff_hw.hardware.digital import Target
from scff_hw.hardware.schema import Profile
from scff_hw.recipes.loader import dump_yaml

UNSOURCED = "defaults of scff-hw"
"""Source of values that no file gives."""


@dataclass(frozen=True)
class _Kind:
    """One kind of profile: schema, sections whose values need a source, example override for error messages."""

    model: type[Profile] | type[Target]
    sections: tuple[str, ...]
    example: str


ANALOG, DIGITAL = "analog", "digital"
KINDS = {
    ANALOG: _Kind(Profile, ("device", "periphery", "array", "learning"), "device.response.write_noise=0.1 w"),
    DIGITAL: _Kind(Target, ("memory", "compute", "energy"), "memory.ram=64 KiB"),
}


def load_hardware(
    name_or_path: str | Path, overrides: Iterable[str] = (), option: str = "--profile-set"
) -> Profile | Target:
    """Load and validate a hardware profile of either kind: analog devices or a digital target.

    Args:
        name_or_path: a shipped profile's name (see `profile_names`, `target_names`), or the path of a YAML file.
        overrides: `key=value` texts applied in order before validation, such as `device.response.write_noise=0.1 w`.
        option: name of the overrides in errors.

    Raises:
        ProfileError: an unknown name, a file that cannot be read or is not YAML, an unknown kind, key or preset, a
            value without unit or source, or out of range. One sentence per problem and line, with its location.
    """
    try:
        text, source = read_document(name_or_path, "profile", _shipped())
        return _parse(text, source, overrides, option)
    except RecipeError as error:
        raise ProfileError(str(error)) from None


def load_profile(name_or_path: str | Path, overrides: Iterable[str] = (), option: str = "--profile-set") -> Profile:
    """Load and validate a profile of analog devices. Otherwise as `load_hardware`.

    Raises:
        ProfileError: as `load_hardware`, and for a digital target, which has no devices.
    """
    return _analog(load_hardware(name_or_path, overrides, option))


def load_target(name_or_path: str | Path, overrides: Iterable[str] = (), option: str = "--profile-set") -> Target:
    """Load and validate a digital target. Otherwise as `load_hardware`.

    Raises:
        ProfileError: as `load_hardware`, and for a profile of analog devices.
    """
    hardware = load_hardware(name_or_path, overrides, option)
    if isinstance(hardware, Target):
        return hardware
    raise ProfileError(
        f"The profile '{hardware.name}' is one of analog devices, where a digital target is needed: "
        f"{', '.join(target_names())}, or a file with kind: digital"
    )


def parse_hardware(text: str, source: str, *, numbered: bool = True) -> Profile | Target:
    """Validate a profile of either kind from YAML text. See `load_hardware`.

    Args:
        source: name of the text in errors.
        numbered: whether errors name lines; False for generated text that is in no file.
    """
    try:
        return _parse(text, source, (), "", numbered=numbered)
    except RecipeError as error:
        raise ProfileError(str(error)) from None


def parse_profile(text: str, source: str, *, numbered: bool = True) -> Profile:
    """Validate a profile of analog devices from YAML text. See `parse_hardware` and `load_profile`."""
    return _analog(parse_hardware(text, source, numbered=numbered))


def profile_names() -> tuple[str, ...]:
    """Return the names of the shipped profiles of analog devices, sorted."""
    return _names(ANALOG)


def target_names() -> tuple[str, ...]:
    """Return the names of the shipped digital targets, sorted."""
    return _names(DIGITAL)


def list_profiles() -> dict[str, str]:
    """Return the descriptions of the shipped profiles of analog devices by name, sorted."""
    return {name: load_profile(name).description for name in profile_names()}


def dump_profile(profile: Profile | Target) -> str:
    """Return a profile as YAML text, every value with its unit; it loads back to an equal profile."""
    return dump_yaml(profile.model_dump(mode="json"))


def _analog(hardware: Profile | Target) -> Profile:
    if isinstance(hardware, Profile):
        return hardware
    raise ProfileError(
        f"The profile '{hardware.name}' is a digital target, without devices that could hold weights or learn, where "
        f"analog devices are needed: {', '.join(profile_names())}, or a file with kind: analog; "
        f"what a run costs on a digital target: scff-hw evaluate RUN --profile {hardware.name}"
    )


@cache
def _shipped() -> dict[str, Path]:
    return {path.stem: path for path in sorted(paths.hardware_profiles().glob("*.yaml"))}


@cache
def _names(kind: str) -> tuple[str, ...]:
    return tuple(name for name, path in _shipped().items() if _kind_of(_read(path), {(): path.name}) == kind)


def _read(path: Path) -> dict[str, Any]:
    return _document(path.read_text("utf-8"), path.name)[0]


def _parse(
    text: str, source: str, overrides: Iterable[str], option: str, *, numbered: bool = True
) -> Profile | Target:
    data, locations = _document(text, source, numbered=numbered)
    known: dict[KeyPath, str] = {(): source, **(locations if numbered else {})}
    kind = _kind_of(data, known)
    spec = KINDS[kind]
    _check_sources(data, known, spec)
    if (name := data.get("preset")) is not None:
        data = _on_preset(data, name, kind, find_location(known, ("preset",)))
    apply_overrides(data, known, overrides, model=spec.model, option=option, example=spec.example)
    if isinstance(data.get("sources"), dict):
        data["sources"] = {section: UNSOURCED for section in spec.sections} | data["sources"]
    try:
        return spec.model.model_validate(data)
    except ValidationError as error:
        raise ProfileError(describe_problems(error, data, known, spec.model)) from None


def _document(text: str, source: str, *, numbered: bool = True) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    data, locations = parse_yaml(text, source, numbered=numbered)
    if not isinstance(data, dict):
        problem = "the text is empty" if data is None else f"got {show(data)}"
        rule = "a profile must be a mapping with name, description, sources, device, ..."
        raise ProfileError(f"{source}: {rule}; {problem}")
    return data, locations


def _kind_of(data: Mapping[str, Any], locations: Mapping[KeyPath, str]) -> str:
    """Return the kind given in a file; analog by default."""
    kind = data.get("kind", ANALOG)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ProfileError(
            f"{find_location(locations, ('kind',))}: kind must be one of {', '.join(KINDS)}, got {show(kind)}"
            f"{nearest(str(kind), KINDS)}"
        )
    return kind


def _on_preset(data: Mapping[str, Any], name: Any, kind: str, location: str) -> dict[str, Any]:
    """Return `data` merged over the shipped profile `name`, which must be of the same kind."""
    allowed = _names(kind)
    if not isinstance(name, str) or name not in allowed:
        hint = nearest(str(name), allowed)
        raise ProfileError(f"{location}: preset must be one of {', '.join(allowed)}, got {show(name)}{hint}")
    base = _read(_shipped()[name])
    if (further := base.get("preset")) is not None:
        base = _on_preset(base, further, kind, f"{name}.yaml")
    return _merged(base, data)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = deepcopy(dict(base))
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _check_sources(data: Mapping[str, Any], locations: Mapping[KeyPath, str], spec: _Kind) -> None:
    """Check that every value in a file has a source in that file, and that every source refers to a key."""
    sources = data.get("sources")
    if not isinstance(sources, dict):
        return  # validation reports the problem
    keys = {key.dotted for key in keys_of(spec.model)}
    for name in sources:
        if name not in keys or name.partition(".")[0] not in spec.sections:
            location = find_location(locations, ("sources", name))
            raise ProfileError(
                f"{location}: sources must name sections or dotted keys below {', '.join(spec.sections)}, "
                f"got {show(name)}{nearest(name, keys)}"
            )
    for section in spec.sections:
        for path in _leaves(data.get(section), (section,)):
            if not any(".".join(path[:length]) in sources for length in range(1, len(path) + 1)):
                dotted = ".".join(path)
                raise ProfileError(
                    f"{find_location(locations, path)}: {dotted} has no source, give one under sources: "
                    f"{section}: ... for the whole section, or {dotted}: ... for this figure"
                )


def _leaves(node: Any, path: KeyPath) -> Iterator[KeyPath]:
    if not isinstance(node, dict):
        if node is not None:
            yield path
        return
    for key, value in node.items():
        yield from _leaves(value, (*path, key))
