"""Whatever the API's own description allows to be asked has an answer as described, and never a 500."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from mean_color import paint
from program import install
from schemathesis.specs.openapi.checks import positive_data_acceptance
from serving import served

from clipsearch import Library

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx
    from conftest import Promised


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder: Path = tmp_path_factory.mktemp("schema")
    for number in range(6):
        paint(folder / f"photos/{number % 2}/{number}.png", (40 * number, 99, 250 - 40 * number))
    with pytest.MonkeyPatch.context() as patch:
        install(patch.setattr)
        with Library.open(folder / "library") as library:
            library.index([folder / "photos"])
            library.learn("warm", [folder / "photos/0/0.png"])
            with served(library) as opened:
                yield opened


@pytest.mark.parametrize(
    "examples", [pytest.param(3, id="few"), pytest.param(300, id="many", marks=pytest.mark.slow)]
)
def test_the_api_is_as_it_describes_itself(client: httpx.Client, promised: Promised, examples: int) -> None:
    schema = schemathesis.openapi.from_url(f"{client.base_url}/api/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 15
    asked = 0
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=examples < 100,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: schemathesis.Case) -> None:
            nonlocal asked
            asked += 1
            # Words are read as the command line reads them: not every text is a date, or a term.
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        ask()
    promised(
        "Whatever its description allows, the API answers as described, never with a 500", asked, "requests"
    )
