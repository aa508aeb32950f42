"""`python -m api.people`: users and API keys of an installation, made where the database is.

add ada --role admin (asks for the password, or reads it from standard input) · password ada ·
key robot-7 --role viewer --scopes predict observe --days 90 (prints the key, this once).
"""

import argparse
import getpass
import os
import sys
from datetime import UTC, datetime, timedelta

from api.wiring import Parts
from trajops.clients import ROLES, SCOPES
from trajops.errors import TrajOpsError
from trajops.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; 0, or 1 with one sentence on standard error."""
    args = _parser().parse_args(arguments)
    actor, reason = f"shell:{os.getuid()}", "on the command line"
    try:
        parts = Parts(Settings.from_environment())
    except TrajOpsError as error:
        sys.stderr.write(f"people: {error.message}\n")
        return 1
    try:
        parts.database.migrate()
        if args.command == "add":
            parts.identity.create_user(args.name, _password(args.name), args.role, actor=actor, reason=reason)
            sys.stdout.write(f"{args.name} may sign in as {args.role}\n")
        elif args.command == "password":
            parts.identity.set_password(args.name, _password(args.name), actor=actor, reason=reason)
            sys.stdout.write(f"{args.name} has a new password\n")
        else:
            expires_at = None if args.days is None else datetime.now(UTC) + timedelta(days=args.days)
            secret, _ = parts.identity.create_api_key(
                args.name, args.role, actor=actor, reason=reason, expires_at=expires_at, scopes=args.scopes
            )
            sys.stdout.write(f"{secret}\n")
    except TrajOpsError as error:
        sys.stderr.write(f"people: {error.message}\n")
        return 1
    finally:
        parts.database.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m api.people", description="Users and API keys of this installation.")
    commands = parser.add_subparsers(dest="command", required=True)
    with_role = [("add", "add somebody who may sign in"), ("key", "make an API key for a program")]
    for command, what in with_role:
        sub = commands.add_parser(command, help=what)
        sub.add_argument("name")
        sub.add_argument("--role", choices=ROLES, default="viewer")
        if command == "key":
            sub.add_argument("--scopes", nargs="+", choices=SCOPES, help="what it may do; left out: all that its role may")
            sub.add_argument("--days", type=float, help="when it ends; left out: never")
    commands.add_parser("password", help="give somebody a new password").add_argument("name")
    return parser


def _password(name: str) -> str:
    return getpass.getpass(f"Password for {name}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")


if __name__ == "__main__":
    sys.exit(main())
