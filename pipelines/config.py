"""Configuration: frozen pydantic models read from TOML, with `--set key=value` overrides in TOML
syntax."""

from __future__ import annotations

import difflib
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, Union

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError

from falconer.pipelines.errors import ConfigError
from falconer.pipelines.look_alikes import refusing


class Config(BaseModel):
    """Base of every configuration: frozen, and an unknown key or a value that only looks like a
    number or a switch is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    renamed: ClassVar[Mapping[str, str]] = {}
    """Former name of a key -> what it is called now: said where the former is given."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler, /) -> Any:
        return refusing(handler(source), cls)


C = TypeVar("C", bound=Config)

UTF_16 = (b"\xff\xfe", b"\xfe\xff")
LONGEST_SHOWN = 200
"""Characters of a wrong value in a message."""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file into a dict; every failure is a `ConfigError` that names the file (and
    line)."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path}: is a directory, a TOML file is wanted") from error
    except UnicodeDecodeError as error:
        form = "UTF-16" if path.read_bytes()[:2] in UTF_16 else f"not UTF-8 (byte {error.start})"
        raise ConfigError(f"{path}: {form}; save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: tables or lists nested beyond all use") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of `values` with each `dotted.key=TOML value` set; a bare word counts as a string."""
    result = _deep_copy(values)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(
                f"--set {override!r}: write it as key=value, for example --set split.test_days=14"
            )
        _set(result, key.strip().split("."), _toml_value(text.strip()), override)
    return result


def _deep_copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _deep_copy(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
    }


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _set(values: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    for depth, key in enumerate(keys[:-1], start=1):
        child = values.setdefault(key, {})
        if not isinstance(child, dict):
            raise ConfigError(
                f"--set {override!r}: {'.'.join(keys[:depth])} is a value, not a table"
            )
        values = child
    values[keys[-1]] = value


def parse(cls: type[C], values: Mapping[str, Any], origin: str) -> C:
    """Validate `values` as a `cls`.

    Raises `ConfigError` that lists every mistake with its path, reason, value and, for an unknown
    key, the nearest known one. `origin` names where the values came from (a file).
    """
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        lines = [_explain(cls, detail) for detail in error.errors()]
        noun = "mistake" if len(lines) == 1 else "mistakes"
        raise ConfigError(
            f"{origin}: {len(lines)} {noun}\n" + "\n".join(f"  - {line}" for line in lines)
        ) from error
    except RecursionError as error:
        raise ConfigError(f"{origin}: tables or lists nested beyond all use") from error


def _explain(cls: type[BaseModel], detail: Any) -> str:
    keys, models = _walk(cls, [str(part) for part in detail["loc"]])
    path = ".".join(keys) or "(the whole)"
    if detail["type"] == "extra_forbidden":
        renamed = {old: new for model in models for old, new in _renamed(model).items()}
        if keys[-1] in renamed:
            return f"{path}: is called {renamed[keys[-1]]!r} now"
        known = sorted({name for model in models for name in model.model_fields})
        near = difflib.get_close_matches(keys[-1], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"{path}: unknown key; {hint}"
    if detail["type"] == "missing":
        return f"{path}: required, and absent"
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return _explain_tag(path, detail["ctx"])
    if detail["type"] == "model_type":
        wanted = _explain_table(models, keys[-1] if keys else "")
        return f"{path}: {wanted} (given: {_shown(detail['input'])})"
    reason = str(detail["msg"]).removeprefix("Value error, ")
    expected = re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected", "")))
    near = difflib.get_close_matches(str(detail["input"]), expected, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{path}: {reason[0].lower()}{reason[1:]} (given: {_shown(detail['input'])}){hint}"


def _explain_table(holders: Sequence[type[BaseModel]], key: str) -> str:
    """A table was wanted: which keys it must have."""
    fields = [one.model_fields[key] for one in holders if key in one.model_fields]
    tables = [table for field in fields for table in _models_in(field.annotation)]
    needed = [
        n for one in tables[:1] for n, field in one.model_fields.items() if field.is_required()
    ]
    shown = ", ".join(f"{name} = ..." for name in needed)
    return f"is a table, {{ {shown} }}" if shown else "is a table of keys"


def _renamed(model: type[BaseModel]) -> Mapping[str, str]:
    return model.renamed if issubclass(model, Config) else {}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _explain_tag(path: str, context: Mapping[str, Any]) -> str:
    """The key that chooses one of several tables is absent or names none of them."""
    key = str(context["discriminator"]).strip("'")
    if "tag" not in context:
        return f"{path}.{key}: required, and absent"
    near = difflib.get_close_matches(
        context["tag"], re.findall(r"'([^']*)'", context["expected_tags"]), n=1
    )
    hint = f"did you mean {near[0]!r}?" if near else f"known: {context['expected_tags']}"
    return f"{path}.{key}: {context['tag']!r} is not known; {hint}"


def _walk(cls: type[BaseModel], location: Sequence[str]) -> tuple[list[str], list[type[BaseModel]]]:
    """The keys of a location as a person wrote them, and the models that hold the last key.

    Pydantic puts the tag of a discriminated union into the location; it narrows the models and is
    no key.
    """
    keys: list[str] = []
    holders = models = [cls]
    for part in location:
        tagged = [model for model in models if _has_tag(model, part)]
        if len(models) > 1 and tagged:
            models = tagged
            continue
        keys.append(part)
        holders = models
        fields = [
            model.model_fields[part].annotation for model in models if part in model.model_fields
        ]
        models = [model for annotation in fields for model in _models_in(annotation)] or models
    return keys, holders


def _has_tag(model: type[BaseModel], tag: str) -> bool:
    annotations = (field.annotation for field in model.model_fields.values())
    return any(
        typing.get_origin(a) is typing.Literal and tag in typing.get_args(a) for a in annotations
    )


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif typing.get_origin(annotation) in (
        Union,
        types.UnionType,
        list,
        tuple,
        dict,
        typing.Annotated,
    ):
        for argument in typing.get_args(annotation):
            yield from _models_in(argument)


def to_toml(values: Mapping[str, Any]) -> str:
    """TOML text of nested tables of scalars, lists and lists of scalars; `None` is left out (TOML
    has no null)."""
    return "\n".join(_table(values, ())).strip() + "\n"


def _table(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    scalars = {k: v for k, v in values.items() if v is not None and not isinstance(v, Mapping)}
    tables = {k: v for k, v in values.items() if isinstance(v, Mapping)}
    if path and (scalars or not tables):
        yield f"\n[{'.'.join(_key(part) for part in path)}]"
    for key, value in scalars.items():
        yield f"{_key(key)} = {inline_toml(value)}"
    for key, table in tables.items():
        yield from _table(table, (*path, key))


def _key(key: str) -> str:
    return (
        key
        if key.replace("-", "").replace("_", "").isalnum() and key.isascii()
        else inline_toml(key)
    )


def inline_toml(value: Any) -> str:
    """A value as TOML has it behind an equals sign, on one line; keys of a table whose value is
    None are left out."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return (
            "{"
            + ", ".join(f"{_key(k)} = {inline_toml(v)}" for k, v in value.items() if v is not None)
            + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(inline_toml(item) for item in value) + "]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in text) + '"'


def find_recipe(name: str, root: Path) -> Path:
    """The TOML file that `name` means: an existing path, or a recipe under `root` by its relative
    name.

    Raises `ConfigError` with the nearest known names when there is none.
    """
    given = Path(name)
    if given.suffix == ".toml":
        if given.is_file():
            return given
        raise ConfigError(f"{given}: no such recipe file")
    known = {
        path.relative_to(root).with_suffix("").as_posix(): path
        for path in sorted(root.rglob("*.toml"))
    }
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known recipes: {', '.join(known) or 'none'}"
    raise ConfigError(f"{name}: no recipe of that name; {hint} (or give the path of a .toml file)")
