"""The secret that signs tokens: from the settings, or generated once and shared by all processes of a machine."""

from data.identity.kept_secret import kept_secret
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
        return _checked(kept_secret(file), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentProblem(
            f"the token secret {file} cannot be read or written ({error}); give this user the right to, or set TRAJOPS_TOKEN_SECRET"
        ) from error


def _checked(secret: str, source: str) -> str:
    if len(secret) < MIN_SECRET_LENGTH:
        raise EnvironmentProblem(f"the secret in {source} has {len(secret)} characters; it needs at least {MIN_SECRET_LENGTH}")
    return secret
