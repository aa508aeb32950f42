"""The champion network as an MLServer runtime; runs in MLServer's own environment."""

from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from trajops.forecasters import artifact


class Trajectory(MLModel):
    """Loads the artefact that `parameters.uri` names."""

    async def load(self) -> bool:
        """Build the forecaster."""
        assert self.settings.parameters is not None
        assert self.settings.parameters.uri is not None
        self._forecaster = artifact.load(Path(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """`history` (N, 8, 2) in; `mean`, `covariance` and `weights` out."""
        forecast = self._forecaster.forecast(NumpyCodec.decode_input(payload.inputs[0]).astype(float))
        outputs = {"mean": forecast.mean_m, "covariance": forecast.covariance_m2, "weights": forecast.weights}
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output(name, value) for name, value in outputs.items()])
