"""Leave-one-scene-out accuracy on ETH/UCY: prints a table; no data of it ships with the product.

Run: python benchmarks/forecast_ethucy.py FOLDER [--families gaussian_mlp,kalman,…]

FOLDER holds {eth,hotel,univ,zara1,zara2}/{train,val,test}/*.txt: rows frame, pedestrian, x, y in metres, frame step 10 = 0.4 s.
Each model is trained on `train`, calibrated on `val` and scored on every window of 8 + 12 steps of `test`. The average over
scenes is unweighted.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from trajops import metrics
from trajops.trajectories import Scene, Track
from trajops.windows import Windows, cut, resample_scene
from workers.training import fit_boosting, fit_constant_velocity, fit_kalman, fit_mlp

SCENES = ("eth", "hotel", "univ", "zara1", "zara2")
FITS = {
    "constant_velocity": fit_constant_velocity.fit,
    "kalman": fit_kalman.fit,
    "gaussian_mlp": fit_mlp.fit,
    "gradient_boosting": fit_boosting.fit,
}


def read(folder: Path) -> Windows:
    """Every window of the recordings in one folder, each recording a scene of its own."""
    return Windows.concatenate([cut(scene) for scene in read_scenes(folder)])


def read_scenes(folder: Path) -> list[Scene]:
    """The recordings in one folder, every 0.4 s, each a scene of its own."""
    found = []
    for path in sorted(folder.glob("*.txt")):
        rows = np.loadtxt(path)
        rows = rows[np.lexsort((rows[:, 0], rows[:, 1]))]
        agents = np.split(rows, np.flatnonzero(np.diff(rows[:, 1])) + 1)
        tracks = tuple(Track(f"{path.stem}-{int(agent[0, 1])}", agent[:, 0] * 0.04, agent[:, 2:]) for agent in agents)
        found.append(resample_scene(Scene(path.stem, tracks), max_gap_s=0.4))
    return found


def main() -> None:
    """Print one line for each scene and family, and the averages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--families", default=",".join(FITS))
    arguments = parser.parse_args()
    results: dict[str, list[list[float]]] = {family: [] for family in arguments.families.split(",")}
    print(f"{'family':18} {'scene':7} {'windows':>7} {'ADE m':>7} {'FDE m':>7} {'NLL':>7} {'cover':>6} {'fit s':>6}")
    for scene in SCENES:
        train, held_out, test = (read(arguments.folder / scene / part) for part in ("train", "val", "test"))
        for family, rows in results.items():
            started = time.perf_counter()
            forecaster = FITS[family](train, held_out)
            fit_s = time.perf_counter() - started
            forecast = forecaster.forecast(test.history_m)
            rows.append(
                [
                    float(metrics.ade(forecast.best_m, test.truth_m).mean()),
                    float(metrics.fde(forecast.best_m, test.truth_m).mean()),
                    float(metrics.nll(forecast, test.truth_m).mean()),
                    metrics.coverage(forecast, test.truth_m),
                    fit_s,
                ]
            )
            ade_m, fde_m, nll, share, fit_s = rows[-1]
            print(f"{family:18} {scene:7} {len(test):7d} {ade_m:7.3f} {fde_m:7.3f} {nll:7.2f} {share:6.3f} {fit_s:6.1f}", flush=True)
    for family, rows in results.items():
        ade_m, fde_m, nll, share, fit_s = np.mean(rows, axis=0)
        print(f"{family:18} {'average':7} {'':7} {ade_m:7.3f} {fde_m:7.3f} {nll:7.2f} {share:6.3f} {fit_s:6.1f}")


if __name__ == "__main__":
    main()
