"""What the demo remembers between two starts: its sign-in, its API key, how often the match was replayed."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


@dataclass
class Memory:
    """Kept in `var/demo.json`, readable by its owner only. The flags are set when a step is done, so a start resumes at the next."""

    username: str
    password: str
    api_key: str
    replays: int = 0
    is_compared: bool = False
    is_backfilled: bool = False

    @classmethod
    def load(cls, var_dir: Path) -> Self | None:
        """What an earlier start left; None on the first."""
        path = var_dir / "demo.json"
        return cls(**json.loads(path.read_text())) if path.exists() else None

    def save(self, var_dir: Path) -> None:
        """Write atomically, mode 0600."""
        path = var_dir / "demo.json"
        draft = path.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(self), file, indent=2)
        draft.replace(path)
