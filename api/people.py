"""`python -m api.people`: the first user and the first API key of an installation, made where the database is.

python -m api.people add ada --role admin        asks for the password, or reads it from standard input
python -m api.people key robot-7 --role viewer   prints the key, this once
"""

import argparse
import getpass
import os
import sys

from api.wiring import Parts
from trajops.errors import TrajOpsError
from trajops.services.identity import ROLES
from trajops.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; 0, or 1 with one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="python -m api.people", description="Users and API keys of this installation.")
    commands = parser.add_subparsers(dest="command", required=True)
    for command, what in (("add", "add somebody who may sign in"), ("key", "make an API key for a program")):
        sub = commands.add_parser(command, help=what)
        sub.add_argument("name")
        sub.add_argument("--role", choices=ROLES, default="viewer")
    args = parser.parse_args(arguments)
    actor = f"shell:{os.getuid()}"
    parts = Parts(Settings())
    try:
        parts.database.migrate()
        if args.command == "add":
            password = getpass.getpass(f"Password for {args.name}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
            parts.identity.create_user(args.name, password, args.role, actor=actor, reason="added on the command line")
            sys.stdout.write(f"{args.name} may sign in as {args.role}\n")
        else:
            secret, _ = parts.identity.create_api_key(args.name, args.role, actor=actor, reason="made on the command line")
            sys.stdout.write(f"{secret}\n")
    except TrajOpsError as error:
        sys.stderr.write(f"people: {error.message}\n")
        return 1
    finally:
        parts.database.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
