"""Gradient boosting: one ensemble of regression trees for each coordinate of each step, served in ONNX.

The trees are fitted by LightGBM (`workers/training/fit_boosting.py`) in the agent's own frame and correct a linear
forecast; frame, trees and covariance together are one ONNX graph of the documented signature. Serving needs numpy and
onnxruntime only, and what MLflow serves is bit for bit the same graph.
"""

from typing import ClassVar

from trajops.forecasters.onnx_model import OnnxModel


class GradientBoosting(OnnxModel):
    """Trees with an absolute-error loss; covariance from residuals, per step, growing with the agent's speed."""

    family: ClassVar[str] = "gradient_boosting"
