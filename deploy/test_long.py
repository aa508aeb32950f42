"""`make test-long`: run what takes minutes, and keep the result in `docs/test-long.md`."""

import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

RESULT = Path("docs/test-long.md")


def main() -> int:
    """Run the long tests; write what they said."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "long", "tests", "-p", "no:cacheprovider"]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    sys.stdout.write(run.stdout)
    lines = [line for line in run.stdout.splitlines() if line.strip()]
    verdict = "passed" if run.returncode == 0 else f"failed with code {run.returncode}"
    RESULT.write_text(
        "# The last run of the long tests\n\n"
        f"`make test-long`, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Python {platform.python_version()}: **{verdict}**.\n\n"
        f"```\n{chr(10).join(lines[-12:])}\n```\n"
    )
    return run.returncode


if __name__ == "__main__":
    sys.exit(main())
