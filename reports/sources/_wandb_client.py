"""A project on a W&B server: GraphQL requests by wandb's own client, and what their failures mean."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning_module.support.errors import ConfigError, one_line

if TYPE_CHECKING:
    from wandb.apis.public.service_api import ServiceApi

RETRIES = 4
TIMEOUT = 120.0
"""Seconds for one request with all its retries."""


class NotThere(ConfigError):
    """The project does not exist, or not for this API key."""


class Refused(ConfigError):
    """The server answers, and will not do what the query asks."""


class Unreachable(Exception):
    """The server does not answer, or not in working order; a cache can stand in."""


@dataclass(frozen=True)
class Client:
    """A project on a server. Calling it makes one GraphQL request."""

    service: ServiceApi
    entity: str
    project: str

    def __call__(self, query: str, **variables: Any) -> dict[str, Any]:
        """The `project` part of an answer; ConfigError if it cannot be had, Unreachable as above."""
        from wandb.sdk.lib.service.service_connection import WandbApiFailedError

        source = f"wandb:{self.entity}/{self.project}"
        try:
            variables |= {"entity": self.entity, "project": self.project}
            answer: dict[str, Any] = self.service.execute_graphql(query, variables, timeout=TIMEOUT)
        except WandbApiFailedError as error:
            status = error.response.http_status if error.response is not None else 0
            server = self.service.base_url
            if status == 401:
                raise ConfigError(
                    f"{server} does not accept your API key; run `wandb login --relogin`"
                ) from error
            if status in (403, 404):
                raise ConfigError(
                    f"{source} is not open to your API key (HTTP {status}); check the names or ask for access"
                ) from error
            # wandb-core gives no status both for "no network" and for errors inside an answer with HTTP 200;
            # only the latter read "input: ..." or "input:LINE:COLUMN: ...".
            if (400 <= status < 500 and status not in (408, 429)) or re.match(r"input[:\d]*: ", str(error)):
                raise Refused(f"{server} refuses the query for {source}: {_one_line(error)}") from error
            raise Unreachable(f"{server} does not answer ({_one_line(error)})") from error
        if answer.get("project") is None:
            raise NotThere(f"{source} does not exist, or your API key may not see it; check both names")
        project: dict[str, Any] = answer["project"]
        return project


def _one_line(error: Exception) -> str:
    return one_line(error)[:300]


def connect(entity: str, project: str) -> Client:
    """The project's server, with the address and key that wandb itself would use. Makes no request.

    Raises ConfigError without a wandb package or a key.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        import wandb
        from wandb.apis.public.service_api import ServiceApi
        from wandb.errors import AuthenticationError
        from wandb.sdk.lib import wbauth
    except ImportError as error:
        raise ConfigError(
            f"--source wandb needs the wandb package ({error}); run `pip install wandb`"
        ) from error
    settings = wandb.setup(wandb.Settings(silent=True)).settings.model_copy()
    try:
        key = wbauth.authenticate_session(
            host=settings.base_url, source="reports", prompt=False, update_session=False
        )
    except AuthenticationError as error:
        raise ConfigError(f"the API key for {settings.base_url} is not valid: {_one_line(error)}") from error
    if key is None:
        raise ConfigError(
            f"there is no API key for {settings.base_url}; run `wandb login` or set WANDB_API_KEY"
        )
    wbauth.set_auth_settings(settings, key)
    settings.x_graphql_retry_max = RETRIES
    settings.x_graphql_retry_wait_min_seconds = 1
    settings.x_graphql_retry_wait_max_seconds = 10
    settings.x_graphql_timeout_seconds = 60
    return Client(ServiceApi(settings, timeout=TIMEOUT), entity, project)


def place(where: str, key: str = "source") -> tuple[str, str]:
    """(entity, project) of a text ENTITY/PROJECT; ConfigError if it is none."""
    match = re.fullmatch(r"([^/\s]+)/([^/\s]+)", where)
    if not match:
        raise ConfigError(f"{key}=wandb:{where} does not say where; allowed is wandb:ENTITY/PROJECT")
    return match[1], match[2]
