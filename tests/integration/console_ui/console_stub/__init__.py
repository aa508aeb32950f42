"""A small API that answers with contract models, so that the console can be tried without the real one."""

from console_stub.alerts import StubAlerts
from console_stub.api import StubApi
from console_stub.experiments import StubExperiments
from console_stub.refusal import Refused
from console_stub.server import StubServer

__all__ = ["Refused", "StubAlerts", "StubApi", "StubExperiments", "StubServer"]
