"""Configuration files: YAML read into a typed model, and errors that name the file and the line."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from trajops.errors import InvalidInput

ConfigT = TypeVar("ConfigT", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """Values that look like a date or a number and are none are mistakes in the file, too."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as error:
            problem = f"{str(node.value)[:80]!r} is not what it looks like ({node.tag.rpartition(':')[2]}); put quotes around a text"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error


def load(path: Path, model: type[ConfigT], context: Mapping[str, Any] | None = None) -> ConfigT:
    """Read one YAML file.

    Args:
        path: of the file.
        model: what it must fit.
        context: what the model's validators may have to know beside the file.

    Raises:
        InvalidInput: if the file cannot be read, is empty, is not YAML, holds a key twice or itself, or does not fit the model. Each
            problem is one line `file:line: where: what`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}; name another folder with TRAJOPS_CONFIGS_DIR or restore the file") from error
    try:
        root = yaml.compose(text, Loader=_Loader)
        looped = _looped(root)
        if looped is not None:
            raise InvalidInput(f"{path}:{looped}: an anchor is used within itself, so that the file would never end")
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe one
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidInput(f"{path}:{line}: not valid YAML: {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        line = 1 + text.count("\n", 0, error.position)
        raise InvalidInput(f"{path}:{line}: not valid YAML: the character U+{error.character:04X} is not allowed") from error
    except RecursionError as error:
        raise InvalidInput(f"{path}:1: lists and mappings stand too deep within one another") from error
    problems = [f"{path}:{line}: {name}: the key stands twice" for line, name in _repeated(root)]
    if problems:
        raise InvalidInput("\n".join(problems))
    if data is None:
        raise InvalidInput(f"{path}:1: the file says nothing; restore it, or write {{}} where every default is meant")
    try:
        return model.model_validate(data, context=context)
    except ValidationError as error:
        problems = [
            f"{path}:{_line(root, item['loc'])}: {'.'.join(map(str, item['loc'])) or 'file'}: {item['msg']}" for item in error.errors()
        ]
        raise InvalidInput("\n".join(problems)) from error


def _looped(node: yaml.Node | None, above: frozenset[int] = frozenset()) -> int | None:
    """Line of a node that holds itself, by an anchor; None if there is none."""
    if not isinstance(node, yaml.CollectionNode):
        return None
    if id(node) in above:
        return int(node.start_mark.line) + 1
    parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    return next((line for line in (_looped(part, above | {id(node)}) for part in parts) if line is not None), None)


def _repeated(node: yaml.Node | None) -> Iterator[tuple[int, str]]:
    """Line and name of each key that stands twice in one mapping; YAML would silently keep the last."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.start_mark.line + 1, str(key.value)
            seen.add(key.value)
            yield from _repeated(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated(value)


def _line(node: yaml.Node | None, loc: Sequence[int | str]) -> int:
    """Line of the deepest part of a location that stands in the file, counted from 1."""
    line = node.start_mark.line + 1 if node is not None else 1
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                continue  # a name of the model's own, such as the kind that it takes an object to be
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line
