"""What the stub API answers where it refuses."""

from trajops.contracts.problems import Problem


class Refused(Exception):
    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = Problem(type=f"/docs/errors#{code}", title=code, status=status, code=code, detail=detail, request_id="r-1")
