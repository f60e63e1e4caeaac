"""Reads the keys that the trainer's dataset TOML may have, from the schema in its source."""

import ast
from collections.abc import Mapping
from typing import Any

from musabi.contract.follow import Reader
from musabi.contract.surface import DatasetKey, Place
from musabi.contract.values import Module

FILE = "dataset/config_utils.py"
CLASS = "ConfigSanitizer"
SCHEMAS: Mapping[str, Place] = {
    "general_schema": "general",
    "image_dataset_schema": "image",
    "video_dataset_schema": "video",
}
"""The attributes of the class that hold what each kind of table may have."""
RENAMED = "deprecated_key_map"
"""The name of the mapping from old keys to new ones."""


def read_dataset_keys(reader: Reader) -> dict[str, DatasetKey]:
    """Return the keys by name, each with its type and the places where it may stand; {} if there is no schema."""
    if not (reader.package.folder / FILE).is_file():
        return {}
    module = reader.package.load(FILE)
    types: dict[str, str] = {}
    places: dict[str, list[Place]] = {}
    for attribute, place in SCHEMAS.items():
        for name, kind in _schema(reader, module, attribute).items():
            types[name] = kind
            places.setdefault(name, []).append(place)
    keys = {name: DatasetKey(name, kind, tuple(places[name])) for name, kind in types.items()}
    for old, new in _renamed(module).items():
        if new in keys:
            keys[old] = DatasetKey(old, keys[new].type, keys[new].places, instead=new)
    return keys


def _schema(reader: Reader, module: Module, attribute: str) -> dict[str, str]:
    """Return key -> type of the dictionaries that are merged into one attribute."""
    owner = reader.global_name(module, CLASS)
    found: dict[str, str] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Assign) and any(_named(target) == attribute for target in node.targets):
            for part in ast.walk(node.value):
                if isinstance(part, ast.Attribute):
                    value = reader.attribute(owner, part.attr)
                    found |= _typed(owner, part.attr) if isinstance(value, dict) else {}
    return found


def _named(target: ast.expr) -> str:
    return target.attr if isinstance(target, ast.Attribute) else ""


def _typed(owner: Any, attribute: str) -> dict[str, str]:  # noqa: ANN401 - a Class
    """Return key -> type of one dictionary of the class."""
    for statement in owner.node.body:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Dict):
            continue
        if attribute in map(ast.unparse, statement.targets):
            pairs = zip(statement.value.keys, statement.value.values, strict=True)
            return {str(key.value): _type(node) for key, node in pairs if isinstance(key, ast.Constant)}
    return {}


def _type(node: ast.expr) -> str:
    """Return the name of a type in the schema: str, [int], or size for a number or a pair of them."""
    text = ast.unparse(node)
    return "size" if "twodim" in text else text


def _renamed(module: Module) -> dict[str, str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == RENAMED for target in node.targets):
            found: dict[str, str] = ast.literal_eval(node.value)
            return found
    return {}
