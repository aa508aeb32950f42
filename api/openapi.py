"""`python -m api.openapi > docs/openapi.json`: the OpenAPI document, the same at every run."""

import json
import sys

from api.main import create_app
from trajops.settings import Settings


def document() -> str:
    """The OpenAPI document as JSON text, ended by a newline."""
    return json.dumps(create_app(Settings.model_construct()).openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
