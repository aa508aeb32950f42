"""A secret in a file that the first process generates and all others of the machine read."""

import os
import secrets
from pathlib import Path


def kept_secret(file: Path) -> str:
    """What stands in the file; generated where there is none.

    Raises:
        OSError: if the file cannot be read or written.
        UnicodeDecodeError: if it does not hold text.
    """
    if not file.exists():
        _generate(file)
    return file.read_text(encoding="ascii").strip()


def _generate(file: Path) -> None:
    # A hard link appears with its whole content or not at all, and never replaces the secret of a process that was faster.
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as handle:
            handle.write(secrets.token_urlsafe(48) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        file.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)
