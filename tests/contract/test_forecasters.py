"""One conformance suite over every family, fitted for real; and planted bad forecasters that it must catch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from trajops import metrics
from trajops.errors import InvalidInput, NotFound, ShapeError, SignatureMismatch
from trajops.forecasters import artifact, checks
from trajops.forecasters.calibration import residual_covariance
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.forecasters.onnx_model import OnnxModel
from trajops.ports import Forecaster
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, Forecast, WindowSpec
from trajops.windows import Windows
from workers.training import fit_boosting, fit_constant_velocity, fit_kalman, fit_mlp
from workers.training.export import to_onnx


def walkers(count: int, seed: int, window: WindowSpec = DEFAULT_WINDOW) -> Windows:
    """Agents that start at some speed, turn steadily and slow down; a tenth of them stand."""
    rng = np.random.default_rng(seed)
    steps = np.arange(window.steps)
    speed_m = rng.uniform(0.1, 3.0, (count, 1)) * window.dt_s * (rng.uniform(size=(count, 1)) > 0.1)
    heading = rng.uniform(0, 2 * np.pi, (count, 1)) + rng.normal(scale=0.08, size=(count, 1)) * steps
    lengths_m = speed_m * np.exp(-0.05 * steps) * rng.gamma(20, 1 / 20, (count, window.steps))
    positions_m = np.cumsum(np.stack((np.cos(heading), np.sin(heading)), axis=2) * lengths_m[:, :, None], axis=1)
    positions_m += rng.normal(scale=0.01, size=positions_m.shape) + rng.uniform(-20, 20, (count, 1, 2))
    return Windows(tuple(f"a{row}" for row in range(count)), ("walk",) * count, np.zeros(count), positions_m, window)


def foreign(
    *,
    covariance: bool = False,
    weights: bool = False,
    modes: int = 1,
    body: str | None = None,
    spread: Sequence[Sequence[float]] = ((0.2, 0.05), (0.05, 0.1)),
    shares: Sequence[float] | None = None,
) -> bytes:
    """A model that the product has never seen: mode by mode it goes on with a larger part of the last step, likelier each time."""
    outputs = [f"float[N, {modes}, 12, 2] mean"]
    text = """
        last = Slice (history, seven, eight, time)
        before = Slice (history, six, seven, time)
        step = Sub (last, before)
        wide_step = Unsqueeze (step, time)
        wide_last = Unsqueeze (last, time)
        moved = Mul (wide_step, ahead)
        mean = Add (moved, wide_last)
    """
    if covariance:
        outputs.append(f"float[N, {modes}, 12, 2, 2] covariance")
        text += "zeros = Mul (mean, zero)\n columns = Unsqueeze (zeros, end)\n covariance = Add (columns, spread)\n"
    if weights:
        outputs.append(f"float[N, {modes}] weights")
        text += "flat = ReduceMean <axes = [2, 3], keepdims = 0> (history_zeros)\n weights = Add (flat, shares)\n"
        text = "wide_history = Unsqueeze (history, time)\n history_zeros = Mul (wide_history, zero)\n" + text
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> foreign (float[N, 8, 2] history) => ({", ".join(outputs)}) {{{body or text}}}'
    )
    ahead = np.arange(1, 13)[None, None, :, None] * np.linspace(0, 1, modes + 1)[1:][None, :, None, None]
    constants = {
        "six": np.array([6]),
        "seven": np.array([7]),
        "eight": np.array([8]),
        "time": np.array([1]),
        "end": np.array([-1]),
        "ahead": ahead.astype(np.float32),
        "zero": np.zeros(1, np.float32),
        "spread": (np.arange(1, 13)[:, None, None] * np.array(spread)).astype(np.float32),
        "shares": np.float32(shares or np.arange(1, modes + 1) / np.arange(1, modes + 1).sum()),
    }
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    return bytes(model.SerializeToString())


RESIDUAL = np.arange(1, 13)[:, None, None] * np.array([[0.2, 0.0], [0.0, 0.1]])
SMALL_TREES = fit_boosting.Recipe(rounds=15)
SHORT_TRAINING = fit_mlp.Recipe(epochs=3, batch=64)
BUILDERS: dict[str, Callable[[Windows, Windows], Forecaster]] = {
    "constant_velocity": fit_constant_velocity.fit,
    "constant_velocity_unfitted": lambda _train, _held: ConstantVelocity(),
    "kalman": fit_kalman.fit,
    "gaussian_mlp": lambda train, held: fit_mlp.fit(train, held, recipe=SHORT_TRAINING),
    "gradient_boosting": lambda train, held: fit_boosting.fit(train, held, recipe=SMALL_TREES),
    "foreign_mean_only": lambda _train, _held: OnnxModel(foreign(), residual_covariance_m2=RESIDUAL),
    "foreign_modes": lambda _train, _held: OnnxModel(foreign(covariance=True, weights=True, modes=3)),
    "foreign_modes_rescaled": lambda _train, _held: OnnxModel(foreign(covariance=True, modes=2)).rescaled(np.linspace(1, 2, 12)),
}


@pytest.fixture(scope="module")
def train() -> Windows:
    return walkers(1500, 1)


@pytest.fixture(scope="module")
def held_out() -> Windows:
    return walkers(2000, 2)


@pytest.fixture(scope="module", params=BUILDERS)
def forecaster(request: pytest.FixtureRequest, train: Windows, held_out: Windows) -> Forecaster:
    return BUILDERS[request.param](train, held_out)


def assert_equal(one: Forecast, other: Forecast, relative: float) -> None:
    """Means to `relative` of how far they reach, covariances to `relative` of their largest entry."""
    np.testing.assert_allclose(one.mean_m, other.mean_m, rtol=relative, atol=relative * max(1.0, np.abs(one.mean_m).max() / 10))
    size = np.abs(one.covariance_m2).max(axis=(-1, -2), keepdims=True)
    np.testing.assert_array_less(np.abs(one.covariance_m2 - other.covariance_m2) / size, relative)
    np.testing.assert_allclose(one.weights, other.weights, rtol=relative)


def run_onnx(model: onnx.ModelProto, history_m: FloatArray) -> Forecast:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == ["history"]
    return Forecast(*session.run(["mean", "covariance", "weights"], {"history": history_m.astype(np.float32)}))


def test_family_conforms(forecaster: Forecaster) -> None:
    checks.check_forecaster(forecaster, is_turning_free=forecaster.family != "onnx_model")


def test_saved_and_loaded_is_the_same_model(forecaster: Forecaster, tmp_path: Path) -> None:
    histories = checks.probe_histories(forecaster.window)
    folder = artifact.save(forecaster, tmp_path / "model", {"note": "kept"})
    loaded = artifact.load(folder)
    assert (loaded.family, loaded.window) == (forecaster.family, forecaster.window)
    assert artifact.describe(folder).metadata == {"note": "kept"}
    for rows in (slice(0, 1), slice(None)):
        one, other = forecaster.forecast(histories[rows]), loaded.forecast(histories[rows])
        np.testing.assert_array_equal(one.mean_m, other.mean_m)
        np.testing.assert_array_equal(one.covariance_m2, other.covariance_m2)
        np.testing.assert_array_equal(one.weights, other.weights)
    again = artifact.save(loaded, tmp_path / "again", {"note": "kept"})
    assert artifact.digest(again) == artifact.digest(folder)


def test_exported_graph_answers_like_the_native_model(forecaster: Forecaster) -> None:
    histories = np.concatenate((checks.probe_histories(forecaster.window), walkers(200, 3).history_m))
    # A grid that single precision represents exactly: both sides are asked the same question.
    histories = np.round(histories * 1024) / 1024
    model = to_onnx(forecaster)
    onnx.checker.check_model(model, full_check=True)
    answer, native = run_onnx(model, histories), forecaster.forecast(histories)
    order = np.argsort(-answer.weights, axis=1, kind="stable")
    rows = np.arange(len(histories))[:, None]
    assert_equal(native, Forecast(answer.mean_m[rows, order], answer.covariance_m2[rows, order], answer.weights[rows, order]), 1e-4)


def test_exported_graph_is_itself_a_conforming_model(forecaster: Forecaster) -> None:
    served = OnnxModel(to_onnx(forecaster).SerializeToString())
    checks.check_forecaster(served, is_turning_free=forecaster.family != "onnx_model")


@pytest.mark.parametrize("name", ["constant_velocity", "kalman", "gaussian_mlp", "gradient_boosting"])
def test_fitted_family_covers_what_it_says_on_new_agents(name: str, train: Windows, held_out: Windows) -> None:
    new = walkers(1500, 4)
    forecast = BUILDERS[name](train, held_out).forecast(new.history_m)
    assert metrics.coverage(forecast, new.truth_m, 0.9) == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize("name", ["kalman", "gaussian_mlp", "gradient_boosting"])
def test_what_is_learned_beats_the_straight_line(name: str, train: Windows, held_out: Windows) -> None:
    new = walkers(1500, 4)

    def error_m(forecaster: Forecaster) -> float:
        return float(metrics.ade(forecaster.forecast(new.history_m).best_m, new.truth_m).mean())

    assert error_m(BUILDERS[name](train, held_out)) < 0.9 * error_m(ConstantVelocity())


# --- planted breaches: one for each check ---------------------------------------------------------------------------


@dataclass
class Planted:
    """A sound forecaster with one fault."""

    change: Callable[[FloatArray, Forecast], Forecast]
    family: object = "planted"
    window: object = DEFAULT_WINDOW

    def forecast(self, history_m: FloatArray) -> Forecast:
        return self.change(history_m, ConstantVelocity().forecast(history_m))


def with_mean(change: Callable[[FloatArray, FloatArray], FloatArray]) -> Planted:
    return Planted(lambda history, sound: Forecast(change(history, sound.mean_m), sound.covariance_m2, sound.weights))


def with_covariance(change: Callable[[FloatArray], FloatArray]) -> Planted:
    return Planted(lambda _, sound: Forecast(sound.mean_m, change(sound.covariance_m2), sound.weights))


class Reused(Planted):
    """Answers out of one buffer."""

    def __init__(self) -> None:
        super().__init__(lambda _, sound: sound)
        self.buffer = np.empty((1000, 1, 12, 2))

    def forecast(self, history_m: FloatArray) -> Forecast:
        sound = super().forecast(history_m)
        self.buffer[: len(history_m)] = sound.mean_m
        return Forecast(self.buffer[: len(history_m)], sound.covariance_m2, sound.weights)


class Remembering(Planted):
    """Adds what it was asked before."""

    def __init__(self) -> None:
        super().__init__(lambda _, sound: sound)
        self.asked = 0

    def forecast(self, history_m: FloatArray) -> Forecast:
        sound = super().forecast(history_m)
        self.asked += 1
        return Forecast(sound.mean_m + 1e-6 * self.asked, sound.covariance_m2, sound.weights)


class Racing(Planted):
    """Passes the question through an attribute that another thread may overwrite."""

    def __init__(self) -> None:
        super().__init__(lambda _, sound: sound)
        self.history = np.zeros((1, 8, 2))

    def forecast(self, history_m: FloatArray) -> Forecast:
        import time

        self.history = history_m
        time.sleep(1e-4)
        return super().forecast(self.history)


def overwriting(history: FloatArray, sound: Forecast) -> Forecast:
    answer = Forecast(sound.mean_m.copy(), sound.covariance_m2, sound.weights)
    history += 1.0
    return answer


def heedless(history: FloatArray, _: Forecast) -> Forecast:
    return ConstantVelocity().forecast(history)


class Lenient(Planted):
    """Takes any shape."""

    def forecast(self, history_m: FloatArray) -> Forecast:
        agents = len(history_m)
        usable = history_m if history_m.shape == (agents, 8, 2) else np.zeros((agents, 8, 2))
        return super().forecast(usable)


def two_modes(first: float, second: float) -> Planted:
    return Planted(
        lambda history, sound: Forecast(
            np.repeat(sound.mean_m, 2, axis=1), np.repeat(sound.covariance_m2, 2, axis=1), np.tile((first, second), (len(history), 1))
        )
    )


def unit_speed(history: FloatArray, mean: FloatArray) -> FloatArray:
    step = history[:, -1] - history[:, -2]
    with np.errstate(invalid="ignore", divide="ignore"):
        return mean + 0.0 * (step / np.linalg.norm(step, axis=1, keepdims=True))[:, None, None]


PLANTED: dict[str, tuple[Forecaster, str]] = {
    "no family": (Planted(heedless, family=""), "check_window"),
    "window as a tuple": (Planted(heedless, window=(8, 12, 0.4)), "check_window"),
    "one step short": (Planted(lambda _, s: Forecast(s.mean_m[:, :, 1:], s.covariance_m2[:, :, 1:], s.weights)), "check_shapes"),
    "fails without agents": (with_mean(lambda h, m: m + 0 * h.max()), "check_shapes"),
    "takes any shape": (Lenient(heedless), "check_refuses_wrong_shapes"),
    "divides by the speed": (with_mean(unit_speed), "check_finite"),
    "pulled to the origin": (with_mean(lambda _, m: 0.99 * m), "check_translation"),
    "prefers east": (with_mean(lambda _, m: m + np.array([0.1, 0.0])), "check_rotation"),
    "wider in x": (with_covariance(lambda c: c * np.diag((2.0, 1.0)) + 0), "check_rotation"),
    "depends on the neighbours": (with_mean(lambda h, m: m + 0.01 * len(h) * (m - h[:, None, -1:])), "check_batch_size"),
    "one buffer for all answers": (Reused(), "check_stateless"),
    "remembers": (Remembering(), "check_stateless"),
    "changes the question": (Planted(overwriting), "check_stateless"),
    "not safe in threads": (Racing(), "check_threads"),
    "no spread": (with_covariance(lambda c: 0.0 * c), "check_covariance"),
    "negative spread": (with_covariance(lambda c: -c), "check_covariance"),
    "skewed": (with_covariance(lambda c: c @ np.array([[1.0, 0.2], [-0.2, 1.0]])), "check_covariance"),
    "weights of 1.1": (two_modes(0.6, 0.5), "check_weights"),
    "unlikely mode first": (two_modes(0.4, 0.6), "check_weights"),
}


@pytest.mark.parametrize(("planted", "check"), PLANTED.values(), ids=PLANTED)
def test_planted_fault_is_caught_by_its_check(planted: Forecaster, check: str) -> None:
    with pytest.raises(SignatureMismatch, match=check) as caught:
        checks.check_forecaster(planted)
    assert caught.value.details["check"] == check


def test_sound_planted_forecaster_passes() -> None:
    checks.check_forecaster(Planted(heedless))


def test_every_check_has_a_planted_fault() -> None:
    assert {check for _, check in PLANTED.values()} == {check.__name__ for check in checks.CHECKS}


# --- foreign models -------------------------------------------------------------------------------------------------


def renamed(model: bytes, old: str, new: str) -> bytes:
    proto = onnx.load_model_from_string(model)
    for node in proto.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for value in (*proto.graph.input, *proto.graph.output):
        if value.name == old:
            value.name = new
    return bytes(proto.SerializeToString())


def shortened(model: bytes) -> bytes:
    proto = onnx.load_model_from_string(model)
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 7
    return bytes(proto.SerializeToString())


STRETCHED = "last = Slice (history, seven, eight, time)\n wide = Unsqueeze (last, time)\n"
NOT_TRANSLATED = STRETCHED + "mean = Mul (wide, ahead)"
NOT_FINITE = STRETCHED + "long = Mul (wide, ahead)\n nothing = Mul (long, zero)\n mean = Div (nothing, zero)"
WRONG: dict[str, tuple[bytes, str]] = {
    "not ONNX at all": (b"no model", "cannot be read"),
    "empty": (b"", "cannot be read"),
    "input of another name": (renamed(foreign(), "history", "x"), "exactly one input, `history`"),
    "no mean": (renamed(foreign(), "mean", "positions"), "must have an output `mean`; found: positions"),
    "eight steps instead of twelve": (foreign(body="mean = Unsqueeze (history, time)"), r"`mean` must have shape \(3, 1, 12, 2\)"),
    "tied to one place": (foreign(body=NOT_TRANSLATED), "where the scene lies elsewhere"),
    "history of seven": (shortened(foreign(body="mean = Unsqueeze (history, time)")), r"`history` must have shape \(N, 8, 2\)"),
    "not a number": (foreign(body=NOT_FINITE), "`mean` holds a number that is not finite"),
    "no probabilities": (foreign(covariance=True, weights=True, modes=2, shares=(0.5, 0.6)), "sum to one"),
    "spread without area": (foreign(covariance=True, spread=((1.0, 1.0), (1.0, 1.0))), "symmetric positive definite"),
}


@pytest.mark.parametrize(("model", "sentence"), WRONG.values(), ids=WRONG)
def test_foreign_model_that_breaks_the_signature_is_refused(model: bytes, sentence: str) -> None:
    with pytest.raises(SignatureMismatch, match=sentence):
        OnnxModel(model, residual_covariance_m2=RESIDUAL)


def test_foreign_model_without_covariance_needs_residuals() -> None:
    with pytest.raises(SignatureMismatch, match=r"calibration\.residual_covariance"):
        OnnxModel(foreign())


def test_missing_covariance_is_filled_from_residuals(held_out: Windows) -> None:
    mean_only = OnnxModel(foreign(), residual_covariance_m2=RESIDUAL)
    spread = residual_covariance(mean_only.forecast(held_out.history_m).best_m, held_out.truth_m)
    forecast = OnnxModel(foreign(), residual_covariance_m2=spread).forecast(held_out.history_m[:3])
    np.testing.assert_allclose(forecast.covariance_m2, np.broadcast_to(spread, (3, 1, 12, 2, 2)))
    np.testing.assert_array_equal(forecast.weights, np.ones((3, 1)))


def test_modes_come_likeliest_first() -> None:
    history = checks.probe_histories(DEFAULT_WINDOW)[1:2]
    forecast = OnnxModel(foreign(covariance=True, weights=True, modes=3)).forecast(history)
    np.testing.assert_allclose(forecast.weights, [[3 / 6, 2 / 6, 1 / 6]], rtol=1e-6)
    np.testing.assert_allclose(forecast.best_m, ConstantVelocity().forecast(history).best_m, rtol=1e-5)


def test_wrong_shape_of_a_question_is_refused(forecaster: Forecaster) -> None:
    with pytest.raises(ShapeError, match=r"\(agents, 8, 2\)"):
        forecaster.forecast(np.zeros((1, 7, 2)))


# --- artefacts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["forecaster.json", "arrays.npz", "model.onnx"])
@pytest.mark.parametrize("fault", ["cut", "changed", "missing"])
def test_damaged_artefact_is_noticed(name: str, fault: str, tmp_path: Path) -> None:
    folder = artifact.save(OnnxModel(foreign(covariance=True)), tmp_path)
    path = folder / name
    content = path.read_bytes()
    if fault == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-20] if fault == "cut" else content.replace(content[40:44], b"\x00\x01\x02\x03"))
    for use in (artifact.load, artifact.digest):
        with pytest.raises(NotFound if fault == "missing" else InvalidInput, match=name):
            use(folder)


def test_pickled_arrays_are_not_read(tmp_path: Path) -> None:
    import hashlib

    import orjson

    folder = artifact.save(ConstantVelocity(), tmp_path)
    np.savez(folder / "arrays.npz", variance_m2=np.array([{"a": 1}], dtype=object))
    manifest = orjson.loads((folder / "forecaster.json").read_bytes())
    manifest["sha256"]["arrays.npz"] = hashlib.sha256((folder / "arrays.npz").read_bytes()).hexdigest()
    (folder / "forecaster.json").write_bytes(orjson.dumps(manifest))
    with pytest.raises(InvalidInput, match="plain arrays"):
        artifact.load(folder)


@pytest.mark.parametrize(
    ("field", "value", "sentence"), [("family", "oracle", "names the family 'oracle'"), ("format_version", 2, "format version 2")]
)
def test_artefact_of_another_release_is_refused(field: str, value: object, sentence: str, tmp_path: Path) -> None:
    import orjson

    folder = artifact.save(ConstantVelocity(), tmp_path)
    manifest = orjson.loads((folder / "forecaster.json").read_bytes()) | {field: value}
    (folder / "forecaster.json").write_bytes(orjson.dumps(manifest))
    with pytest.raises(InvalidInput, match=sentence):
        artifact.load(folder)


def test_window_comes_from_the_artefact(tmp_path: Path) -> None:
    window = WindowSpec(5, 6, 0.5)
    folder = artifact.save(ConstantVelocity(window=window), tmp_path)
    loaded = artifact.load(folder)
    assert loaded.window == window
    assert loaded.forecast(np.zeros((2, 5, 2))).mean_m.shape == (2, 1, 6, 2)


def test_planted_family_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="planted cannot be stored"):
        artifact.save(Planted(heedless), tmp_path)
