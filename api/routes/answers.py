"""What the policy has done about alerts, and decisions on what it proposes."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.deps import CHANGES, READS, IdempotencyKey, Operator, PartsOf, Reader
from api.wiring import Parts
from trajops.clients import Client
from trajops.contracts.answers import AnswerDecisionIn, AnswerOut, AnswersOut
from trajops.services.answers import decide

router = APIRouter(prefix="/v1/answers", tags=["alerts"])


@router.get("", summary="Answers", responses=READS)
def answers(
    parts: PartsOf,
    _client: Reader,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    alert_id: Annotated[str | None, Query(max_length=64, description="Only the answer to this alert.")] = None,
) -> AnswersOut:
    """What was done about alerts without a hand, step by step; newest first."""
    with parts.unit_of_work(read_only=True) as uow:
        found = uow.answers.newest(limit=limit) if alert_id is None else uow.answers.of_alerts([alert_id])
    return AnswersOut(answers=[AnswerOut.of(answer) for answer in found])


@router.post("/{answer_id}/approve", summary="Approve an answer", responses=CHANGES)
def approve(answer_id: str, body: AnswerDecisionIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> AnswerOut:
    """Let a proposed answer take its steps."""
    return _decided(parts, client, answer_id, body, key, is_approved=True)


@router.post("/{answer_id}/dismiss", summary="Dismiss an answer", responses=CHANGES)
def dismiss(answer_id: str, body: AnswerDecisionIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> AnswerOut:
    """Do nothing of what was proposed."""
    return _decided(parts, client, answer_id, body, key, is_approved=False)


def _decided(parts: Parts, client: Client, answer_id: str, body: AnswerDecisionIn, key: str | None, *, is_approved: bool) -> AnswerOut:
    decided = decide(
        parts.unit_of_work,
        parts.clock,
        answer_id,
        body.expected_version,
        is_approved=is_approved,
        actor=client.client_id,
        reason=body.reason,
        idempotency_key=key,
    )
    parts.cached.clear()
    return decided
