"""`/predict` answered by the server itself: judged, charged and put into the turn without a task of its own."""

from api.direct import Exchange
from api.fast_route import REFUSALS, FastEndpoint, checked_request_id, new_request_id
from api.rate_limits import ClientBucket
from api.turn import Turn
from trajops.services.predict import PredictService

_TYPE = b"content-type: application/json\r\n"


class PredictDoor:
    """The door of `/predict`.

    Args:
        endpoint: the route that it stands for, and that answers what it cannot.
        service: stamps the asks.
        turn: answers them.
        is_sharing: whether other processes may know agents that this one does not.
    """

    def __init__(self, endpoint: FastEndpoint, service: PredictService, turn: Turn, path: str, *, is_sharing: bool = False) -> None:
        self.endpoint = endpoint
        self.path = path
        self._service = service
        self._turn = turn
        self._is_sharing = is_sharing

    def begin(self, exchange: Exchange) -> bool:
        """Take a request; False, and nothing counted or charged, where it cannot be answered at once."""
        endpoint = self.endpoint
        authorization = given_id = None
        for name, value in exchange.headers:
            if name == b"authorization":
                authorization = value
            elif name == b"x-request-id":
                given_id = value
        client = endpoint.gate.known(authorization)
        if client is None or endpoint.scope not in client.may:
            return False
        try:
            query = endpoint.decode(bytes(exchange.body))
        except REFUSALS:
            return False
        # A version that is asked for may have to be made warm first, and an agent without a history be asked of the others.
        if query.model_version is not None or (self._is_sharing and query.history is None):
            return False
        bucket = client.bucket
        if bucket is not None and not bucket.take(1, exchange.started_s):
            return False
        request_id = None if given_id is None else checked_request_id(given_id)
        reply = _Reply(self, exchange, bucket, request_id)
        try:
            self._turn.put(self._service.received(query, client, request_id), reply)
        except Exception as error:  # noqa: BLE001 - every request gets an answer
            reply.refuse(error)
        return True


class _Reply:
    """Waits for the answer of one request."""

    __slots__ = ("_bucket", "_door", "_exchange", "_request_id")

    def __init__(self, door: PredictDoor, exchange: Exchange, bucket: ClientBucket | None, request_id: str | None) -> None:
        self._door, self._exchange, self._bucket, self._request_id = door, exchange, bucket, request_id

    def give(self, content: bytes) -> None:
        self._send(200, _TYPE, content)

    def refuse(self, error: Exception) -> None:
        request_id = self._request_id = self._request_id or new_request_id()
        status, shown, content = self._door.endpoint.problem(error, self._door.path, request_id)
        self._send(status, "".join([f"{name.lower()}: {value}\r\n" for name, value in shown.items()]).encode(), content)

    def _send(self, status: int, fields: bytes, content: bytes) -> None:
        bucket, exchange = self._bucket, self._exchange
        if bucket is not None:
            fields += b"%s: %s\r\n%s: %s\r\n" % (*bucket.policy, *bucket.remaining())
        if self._request_id is not None:
            fields += b"x-request-id: %s\r\n" % self._request_id.encode()
        exchange.answer(status, fields, content)
        self._door.endpoint.meter.observe(status, exchange.elapsed_s())
