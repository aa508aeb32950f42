"""The calls of the client that change something at the API, those that the console makes, and those that a browser is seen to make."""

import ast
import inspect
import re
from functools import cache
from pathlib import Path

from trajops.client import TrajOpsClient

ROOT = Path(__file__).parents[3]
BROWSER = Path(__file__).parent / "browser"
_POSTS = re.compile(r'\bpost\(|"POST"')
_PATH = re.compile(r'"(/[^"\s]+)"')


@cache
def changing() -> dict[str, str]:
    """Methods of the client that are no reads, with the path that each posts to; `{}` stands for an id."""
    methods = inspect.getmembers(TrajOpsClient, inspect.isfunction)
    sources = {name: inspect.getsource(inspect.unwrap(method)) for name, method in methods}
    posts = {name: source for name, source in sources.items() if _POSTS.search(source) and "Retry.READ" not in source}
    return {name: _PATH.findall(source)[0] for name, source in posts.items()}


def paths_of(name: str) -> re.Pattern[str]:
    """The paths that a method posts to."""
    return re.compile("[^/]+".join(map(re.escape, changing()[name].split("{}"))))


def of_the_console() -> set[str]:
    """Those that the console calls."""
    trees = (ast.parse(file.read_text()) for file in (ROOT / "console").rglob("*.py"))
    return {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & set(changing())


def of_browsers() -> set[str]:
    """Those that tests in a browser are marked with, as `pytest.mark.changes`; that they are called is looked at there."""
    trees = (ast.parse(file.read_text()) for file in BROWSER.glob("test_*.py"))
    calls = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {ast.literal_eval(name) for call in calls if ast.unparse(call.func) == "pytest.mark.changes" for name in call.args}
