"""A W&B server, asked over HTTP without the wandb package: is it there, is the key good, what has it of a run?"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from lightning_module.tracking.patience import said, within
from lightning_module.tracking.wandb_account import account

if TYPE_CHECKING:
    import requests

REACH_TIMEOUT = 10.0
"""Seconds to wait for an answer before the run goes offline."""
SHORT_TIMEOUT = 3.0
"""The same for a question to a server that failed already."""
DELETED = 409
"""Status of HTTP for a run that cannot be made because it was deleted."""
LAST_ID = 4
"""A run that was deleted goes on as IDENTITY-2, -3, ... up to this one."""

VIEWER = "query Viewer { viewer { entity } }"
RUNS = """query Runs($entity: String, $project: String!, {variables}) {{
  project(name: $project, entityName: $entity) {{ {fields} }}
}}"""
CREATE = """mutation UpsertBucket($entity: String, $project: String, $name: String) {
  upsertBucket(input: {entityName: $entity, modelName: $project, name: $name}) { inserted }
}"""


class ServerError(RuntimeError):
    """Why a server cannot be used, in one sentence. status: that of HTTP, 0 if there was none."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


def run_ids(identity: str) -> list[str]:
    """The ids that the run of a cell may have: its identity, or with a number after it was deleted."""
    return [identity, *(f"{identity}-{number}" for number in range(2, LAST_ID + 1))]


class Server:
    """The server of the account at an address, see `wandb_account.account`; its ConfigError if there is none."""

    def __init__(self, base_url: str | None = None) -> None:
        self.account = account(base_url)
        self.address = self.account.url

    def ask(self, query: str, *, patience: float | None = None, **variables: Any) -> dict[str, Any]:
        """The data of an answer; ServerError if there is none within so many seconds (None: REACH_TIMEOUT).

        A server that is too busy, or ill for the moment, is asked again until then.
        """
        self.account.check_key()
        patience = REACH_TIMEOUT if patience is None else patience
        deadline, pause = time.monotonic() + patience, 0.5
        with said(self.address, patience):
            while True:
                left = max(0.1, deadline - time.monotonic())
                try:
                    return within(left, lambda: self._once(query, variables, left))  # noqa: B023
                except TimeoutError:
                    raise ServerError(f"{self.address} does not answer within {patience:.0f} s") from None
                except ServerError as error:
                    ill = error.status == 429 or error.status >= 500
                    if not ill or time.monotonic() + pause > deadline:
                        raise
                time.sleep(pause)
                pause *= 2

    def _once(self, query: str, variables: dict[str, Any], timeout: float) -> dict[str, Any]:
        import requests

        try:
            answer = requests.post(
                f"{self.address}/graphql",
                json={"query": query, "variables": variables},
                auth=("api", self.account.key),
                timeout=timeout,
                allow_redirects=False,
                verify=self.account.verify,
            )
        except requests.Timeout:
            raise TimeoutError from None
        except (requests.RequestException, ValueError) as error:
            raise ServerError(f"{self.address}: {cause(error)}") from None
        return self._data(answer)

    def _data(self, answer: requests.Response) -> dict[str, Any]:
        status, address = answer.status_code, self.address
        if answer.is_redirect:
            there = urljoin(answer.url, answer.headers["Location"]).removesuffix("/graphql")
            raise ServerError(f"{address} redirects to {there}; give that as the address", status)
        if status == 401:
            raise ServerError(f"{address} refuses the API key (HTTP {status})", status)
        if status == 403:
            raise ServerError(
                f"{address} does not let this API key in there (HTTP {status}); check the entity", status
            )
        try:
            content = json.loads(answer.content)
        except ValueError:
            content = None
        if status != 200:
            errors = content.get("errors") if isinstance(content, dict) else None
            words = "; ".join(str(error.get("message")) for error in errors or [] if isinstance(error, dict))
            raise ServerError(f"{address} answers HTTP {status}" + (f" ({words})" if words else ""), status)
        if not isinstance(content, dict) or not isinstance(content.get("data"), dict):
            raise ServerError(f"{address} does not answer as a W&B server does", status)
        return dict(content["data"])

    def default_entity(self) -> str | None:
        """The user's own, when no other is named; None if the key is nobody's."""
        return (self.ask(VIEWER)["viewer"] or {}).get("entity")

    def runs(
        self, entity: str | None, project: str, *ids: str, patience: float | None = None
    ) -> dict[str, dict[str, Any]]:
        """Those of these runs that are there, with their `historyLineCount` and `summaryMetrics`."""
        variables = ", ".join(f"$n{index}: String!" for index in range(len(ids)))
        fields = " ".join(
            f"r{index}: run(name: $n{index}) {{ historyLineCount summaryMetrics }}"
            for index in range(len(ids))
        )
        names = {f"n{index}": name for index, name in enumerate(ids)}
        query = RUNS.format(variables=variables, fields=fields)
        data = self.ask(query, patience=patience, entity=entity, project=project, **names)
        there = data.get("project") or {}
        return {name: there[f"r{index}"] for index, name in enumerate(ids) if there.get(f"r{index}")}

    def was_deleted(
        self, entity: str | None, project: str, run_id: str, *, patience: float | None = None
    ) -> bool:
        """Whether a run of this id was deleted there, and can never be made again; it is made if not.

        ServerError if the server makes none for another reason, or not within so many seconds (None: SHORT_TIMEOUT).
        """
        patience = SHORT_TIMEOUT if patience is None else patience
        try:
            self.ask(CREATE, patience=patience, entity=entity, project=project, name=run_id)
        except ServerError as error:
            if error.status != DELETED:
                raise
            return True
        return False


def summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of one of `Server.runs`, {} if it has none that can be read."""
    try:
        values = json.loads(found.get("summaryMetrics") or "{}")
    except (TypeError, ValueError):
        values = None
    return values if isinstance(values, dict) else {}


def cause(error: BaseException) -> str:
    """The system's own words for what broke a connection, without the layers around them."""
    seen: list[BaseException] = []
    todo: list[Any] = [error]
    while todo:
        one = todo.pop()
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            todo += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
    told = [one.strerror for one in seen if isinstance(one, OSError) and one.strerror]
    return str(told[-1] if told else error)
