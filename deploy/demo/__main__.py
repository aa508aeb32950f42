"""`python -m deploy.demo`: Ctrl-C during the imports ends quietly; after them the supervisor takes over."""

import signal
import sys


def main() -> int:
    """Import late, run the command."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from deploy.demo import command  # noqa: PLC0415 - about a second

    return command.main()


if __name__ == "__main__":
    sys.exit(main())
