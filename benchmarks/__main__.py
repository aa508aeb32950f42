"""Run one benchmark, or all, and exit with 1 where a budget is missed."""

import importlib
import os
import sys

from benchmarks.record import budgets, judge


def main(names: list[str]) -> int:
    """Run the named benchmarks (all without names); 0 when every budget holds. One that cannot be run is missed, and keeps its record."""
    known = budgets()
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.stderr.write(f"no benchmark called {', '.join(unknown)}; there are {', '.join(known)}\n")
        return 2
    missed = []
    for name in names or known:
        load = os.getloadavg()[0]
        try:
            measurement = importlib.import_module(f"benchmarks.{name}").run()
        except RuntimeError as error:
            print(f"FAILED {name}: {error}", flush=True)
            missed.append(name)
            continue
        record = judge(name, measurement, load)
        record.save()
        print(f"{'ok    ' if record.ok else 'MISSED'} {name}: {record.value:.4g} {record.unit} (budget {record.budget})", flush=True)
        for key, value in record.details.items():
            print(f"         {key}: {value}", flush=True)
        missed += [name] * (not record.ok)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
