"""What /openapi.json promises, held against the portal itself with thousands of odd requests."""

import asyncio
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.access.test_tokens import token_of
from tests.town import Town

EXAMPLES = 25
"""For each operation and each way of making them; `./dev attack` makes many more."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
SOME = settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
)


def attack(document: dict[str, Any], base_url: str, token: str) -> int:
    """How many requests were made. Raises with the first answer that the document does not allow."""
    schema = schemathesis.openapi.from_dict(document)
    headers = {"authorization": f"Bearer {token}"}
    made = 0
    for found in schema.get_all_operations():
        if not isinstance(found, Ok):
            raise found.err()
        operation = found.ok()
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

            @SOME
            @given(case=operation.as_strategy(generation_mode=mode))
            def try_one(case: schemathesis.Case[Any]) -> None:
                nonlocal made
                made += 1
                answer = case.call(base_url=base_url, headers=headers, timeout=20)
                case.validate_response(answer, checks=CHECKS)

            try_one()
    return made


@pytest.mark.timeout(240)
async def test_every_answer_is_one_that_the_document_promises(town: Town):
    await town.in_step()
    async with town.signed_in("ada@acme.test") as ada:
        token = await token_of(ada, *town.portal.tokens.scopes)
        document = (await ada.get("/openapi.json")).json()

    made = await asyncio.to_thread(attack, document, town.base_url, token)

    assert made > 20 * len(document["paths"])
