"""The secret that signs tokens: from the settings, or generated once and shared by all processes of a machine."""

import os
import secrets
from pathlib import Path

from data.identity.tokens import MIN_SECRET_LENGTH
from trajops.errors import EnvironmentProblem
from trajops.settings import Settings


def token_secret(settings: Settings) -> str:
    """The secret of the settings, or the one in `var_dir/token_secret`, which the first process generates.

    Raises:
        EnvironmentProblem: if it is too short, if `production` has none, or if its file cannot be read or written.
    """
    if settings.token_secret is not None:
        return _checked(settings.token_secret.get_secret_value(), "TRAJOPS_TOKEN_SECRET")
    if settings.environment == "production":
        raise EnvironmentProblem(
            f"TRAJOPS_TOKEN_SECRET must be set in production, to at least {MIN_SECRET_LENGTH} random characters "
            "(python -c 'import secrets; print(secrets.token_urlsafe(48))')"
        )
    file = settings.var_dir / "token_secret"
    try:
        if not file.exists():
            _generate(file)
        return _checked(file.read_text(encoding="ascii").strip(), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentProblem(
            f"the token secret {file} cannot be read or written ({error}); give this user the right to, or set TRAJOPS_TOKEN_SECRET"
        ) from error


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


def _checked(secret: str, source: str) -> str:
    if len(secret) < MIN_SECRET_LENGTH:
        raise EnvironmentProblem(f"the secret in {source} has {len(secret)} characters; it needs at least {MIN_SECRET_LENGTH}")
    return secret
