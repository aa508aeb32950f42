"""Train on your own tracks, or adopt your own model: `python -m workers.training --family gaussian_mlp --tracks my.csv`."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from data.datasets import skillcorner, tracks
from data.models.loader import ModelLoader
from data.models.registry import MlflowRegistry
from data.sql.engine import Database
from trajops.deployments.model_ref import ModelRef
from trajops.errors import TrajOpsError
from trajops.services.validations import record
from trajops.settings import Settings
from trajops.trajectories import Scene
from workers.training.adopt import adopt, audit_unsafe
from workers.training.candidates import FAMILIES
from workers.training.partitions import Cutting
from workers.training.run import ACTOR, train
from workers.training.staging import stage_best
from workers.training.validate import HeldOut, Validator, held_out


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 when every version is registered, whether one may be staged or not, 1 with one sentence otherwise."""
    options = _parser().parse_args(arguments)
    try:
        settings = Settings.from_environment()
        database = Database(settings.sql_url)
        database.migrate()
        scenes, dataset = load_scenes(options.tracks)
        cutting = Cutting(max_gap_s=options.max_gap_s, max_speed_mps=options.max_speed_mps, stride=options.stride)
        if options.adopt is not None:
            adopt(settings, options.adopt, scenes, database=database, cutting=cutting, dataset=dataset, progress=_say)
        elif options.validate is not None:
            validate(settings, options.validate, held_out(scenes, dataset, cutting), database)
        else:
            families = options.family or ["gaussian_mlp"]
            versions = train(
                settings, scenes, families=families, database=database, dataset=dataset, cutting=cutting, seed=options.seed, progress=_say
            )
            if options.stage:
                stage_best(settings.model_name, versions, database=database, dataset=dataset, progress=_say)
    except TrajOpsError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


def load_scenes(paths: Sequence[Path]) -> tuple[list[Scene], str]:
    """The scenes of the given files and a name for the data; without files the embedded first half.

    Scenes of several files carry the file's name, so that equal ids in two files stay apart.
    """
    if not paths:
        return [skillcorner.load()["first_half"]], "skillcorner_2417/first_half"
    scenes = []
    for path in paths:
        for scene_id, scene in tracks.read(path).items():
            scenes.append(scene if len(paths) == 1 else Scene(f"{path.stem}/{scene_id}", scene.tracks))
    return scenes, ", ".join(path.name for path in paths)


def validate(settings: Settings, number: int, found: HeldOut, database: Database) -> None:
    """Run the battery over a registered version on windows that somebody names, and write down what came of it.

    Raises:
        NotFound: if the version is not known.
        RegistryUnavailable: if it is not in the cache and the registry is away.
    """
    with database.unit_of_work(read_only=True) as work:
        version = work.model_versions.get(ModelRef(settings.model_name, number))
    with closing(MlflowRegistry(settings.registry_url)) as registry:
        loader = ModelLoader(
            registry,
            settings.models_dir,
            allow_pickled=settings.allow_pickled_models,
            on_unsafe=lambda ref, reason: audit_unsafe(database, ref, reason),
        )
        run = Validator(settings, loader, registry.set_tags, database.unit_of_work, lambda: found, is_asked=True)
        validation, card = run(version, cause="asked_for", by=ACTOR)
    with database.unit_of_work() as work:
        record(work, validation, card)
    _say(f"{version.ref}: {validation.sentence}")
    for check in validation.checks:
        _say(f"  {check.check.replace('_', ' ')} {check.state}: {check.sentence}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.training", description=__doc__)
    parser.add_argument(
        "--family", action="append", choices=list(FAMILIES), help="model family to fit; may be repeated (default: gaussian_mlp)"
    )
    parser.add_argument(
        "--tracks",
        action="append",
        type=Path,
        default=[],
        help="CSV or Parquet with agent, time, x, y; may be repeated (default: the embedded match)",
    )
    parser.add_argument("--adopt", type=int, metavar="VERSION", help="measure and list this version that you registered in MLflow yourself")
    parser.add_argument(
        "--validate", type=int, metavar="VERSION", help="run the battery over this version on the tracks, and write its card"
    )
    parser.add_argument(
        "--no-stage",
        dest="stage",
        action="store_false",
        help="only register what is trained (default: the best candidate that has passed its battery is moved to staged)",
    )
    parser.add_argument("--max-gap-s", type=float, default=1.0, help="split tracks at wider gaps, seconds (default: 1)")
    parser.add_argument("--max-speed-mps", type=float, default=None, help="split tracks at higher speeds, m/s (default: no limit)")
    parser.add_argument("--stride", type=int, default=1, help="steps between the starts of two windows of a track (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of every random choice (default: 0)")
    return parser


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
