"""A project on a W&B server: GraphQL over HTTP, and what its failures mean.

It needs no wandb package: the query language of the server is older and steadier than the package's own classes.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from lightning_module.support.errors import ConfigError, log, one_line
from lightning_module.tracking.patience import within
from lightning_module.tracking.wandb_account import Account, account
from lightning_module.tracking.wandb_server import cause

if TYPE_CHECKING:
    import requests

RETRIES = 4
PAUSE = 1.0
"""Seconds before the second attempt; each further pause is twice as long."""
TIMEOUT = 120.0
"""Seconds for one request with all its retries."""
ANSWER = 60.0
"""Seconds until an attempt that gets no answer is given up."""
SILENCE = 2.0
"""Seconds that one waits without a word."""
NAME = r"[^/\\#?%:]+"
"""A name of a user, team or project: W&B allows spaces."""
PASSING = (408, 429, 500, 502, 503, 504)
"""Statuses after which the same request may succeed."""


class NotThere(ConfigError):
    """The project does not exist, or not for this API key."""


class Refused(ConfigError):
    """The server answers, and will not do what the query asks."""


class Unreachable(Exception):
    """The server does not answer, or not in working order; a cache can stand in.

    answered: it did answer, with a failure, so that it may manage a smaller request.
    """

    def __init__(self, text: str, answered: bool = False) -> None:
        super().__init__(text)
        self.answered = answered


class _Passing(Exception):
    """An attempt failed, and another may succeed. wait: seconds that the server asks for, 0 if it does not."""

    def __init__(self, text: str, wait: float = 0, answered: bool = False) -> None:
        super().__init__(text)
        self.wait, self.answered = wait, answered


def _session() -> requests.Session:
    import requests

    return requests.Session()


@dataclass(frozen=True)
class Client:
    """A project on a server. Calling it makes one GraphQL request; several threads may."""

    account: Account
    entity: str
    project: str
    _session: requests.Session = field(default_factory=_session, repr=False, compare=False)
    _said: dict[str, float] = field(default_factory=dict, repr=False, compare=False)

    @property
    def source(self) -> str:
        """What a user calls it."""
        return f"wandb:{self.entity}/{self.project}"

    def __call__(self, query: str, **variables: Any) -> dict[str, Any]:
        """The `project` part of an answer; ConfigError if it cannot be had, Unreachable as above."""
        variables |= {"entity": self.entity, "project": self.project}
        deadline, pause = time.monotonic() + TIMEOUT, PAUSE
        for left in range(RETRIES, -1, -1):
            try:
                return self._project(self._attempt({"query": query, "variables": variables}, deadline))
            except _Passing as error:
                wait, seconds = max(pause, error.wait), deadline - time.monotonic()
                if not left or wait >= seconds:
                    asked = f", and asks to be left alone for {error.wait:.0f} s" if error.wait else ""
                    raise Unreachable(
                        f"{self.account.url} does not answer ({error}{asked})", error.answered
                    ) from error
                if wait > SILENCE:
                    self._say(f"does not answer ({error}); trying again in {wait:.0f} s", seconds)
                time.sleep(wait)
                pause *= 2
        raise AssertionError("the last attempt ends in one way or the other")

    def _attempt(self, body: dict[str, Any], deadline: float) -> Any:
        """The JSON of one answer; _Passing if another attempt may succeed."""
        import requests

        url, longest = self.account.url, max(1.0, min(ANSWER, deadline - time.monotonic()))
        try:
            with self._waiting(longest):
                answer = within(  # the limit of requests is for each piece of an answer
                    longest,
                    lambda: self._session.post(
                        f"{url}/graphql",
                        json=body,
                        auth=("api", self.account.key),
                        timeout=longest,
                        allow_redirects=False,
                        verify=self.account.verify,
                    ),
                )
        except requests.exceptions.SSLError as error:
            raise Unreachable(
                f"{url} cannot be reached over TLS ({cause(error)}); a certificate authority of your own goes "
                "into REQUESTS_CA_BUNDLE"
            ) from error
        except (requests.exceptions.Timeout, TimeoutError) as error:
            raise _Passing(f"no answer within {longest:.0f} s") from error
        except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            raise _Passing(cause(error)) from error
        except requests.exceptions.RequestException as error:
            raise Unreachable(f"{url} cannot be asked ({one_line(error)[:300]})") from error
        self._check(answer)
        try:
            return answer.json()
        except (ValueError, RecursionError) as error:
            raise Unreachable(
                f"{url} is no W&B server: it answers with {_shown(answer)}; check WANDB_BASE_URL"
            ) from error

    def _check(self, answer: requests.Response) -> None:
        """Raise what the status of an answer means, unless it is 200."""
        status, url = answer.status_code, self.account.url
        if status in PASSING:
            raise _Passing(f"HTTP {status}: {_shown(answer)}", _retry_after(answer), answered=True)
        if 300 <= status < 400:
            target = answer.headers.get("Location", "nowhere")[:200]
            raise Unreachable(
                f"{url} redirects to {target} (HTTP {status}); if that is the server, set WANDB_BASE_URL to it"
            )
        if status == 401:
            raise ConfigError(f"{url} does not accept your API key; run `wandb login --relogin`")
        if status in (403, 404):
            raise ConfigError(
                f"{self.source} is not open to your API key at {url} (HTTP {status}); check the names or ask for access"
            )
        if status >= 500:
            raise Unreachable(f"{url} does not answer (HTTP {status}: {_shown(answer)})")
        if status != 200:
            raise Refused(f"{url} refuses the query for {self.source}: HTTP {status}: {_shown(answer)}")

    def _project(self, answer: Any) -> dict[str, Any]:
        """The project in the JSON of an answer."""
        url = self.account.url
        if isinstance(answer, dict) and answer.get("errors"):
            raise Refused(f"{url} refuses the query for {self.source}: {_message(answer)}")
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, dict) or not isinstance(data.get("project"), dict | None):
            raise Unreachable(f"{url} does not answer as a W&B server does; check WANDB_BASE_URL")
        project: dict[str, Any] | None = data.get("project")
        if project is None:
            raise NotThere(f"{self.source} does not exist, or your API key may not see it; check both names")
        return project

    @contextmanager
    def _waiting(self, longest: float) -> Iterator[None]:
        """Say that one waits for an answer, if it lasts."""
        timer = threading.Timer(SILENCE, self._say, ("has not answered yet", longest - SILENCE))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _say(self, text: str, seconds: float) -> None:
        """Tell the user about a wait; of several requests that wait at the same time one speaks."""
        now = time.monotonic()
        if now - self._said.get(text[:20], -ANSWER) >= ANSWER / 2:
            self._said[text[:20]] = now
            log.warning("%s %s; waiting for at most %.0f s", self.account.url, text, seconds)


def _retry_after(answer: requests.Response) -> float:
    """Seconds that an answer asks to be left alone for, which it says in seconds or as a date."""
    text = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}", text):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0


def _message(body: Any) -> str:
    """What the errors in an answer say, in one line."""
    errors = body.get("errors") if isinstance(body, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else body
    text = first.get("message", first) if isinstance(first, dict) else first
    return " ".join(str(text).split())[:300]


def _shown(answer: requests.Response) -> str:
    """The body of an answer in one line: its message, or what kind of text it is."""
    try:
        return _message(answer.json())
    except (ValueError, RecursionError):
        pass
    text = answer.text[:2000]
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    if title or "<html" in text.lower():
        return f"a web page{f' titled {title[1].strip()[:100]!r}' if title else ''}"
    return f"the text {' '.join(text.split())[:100]!r}" if text.strip() else "nothing"


def connect(entity: str, project: str) -> Client:
    """The project's server, with the address and key that wandb itself would use. Makes no request.

    Raises ConfigError without a usable address or a key.
    """
    known = account()
    known.check_key()
    return Client(known, entity, project)


def place(where: str, key: str = "source=wandb:") -> tuple[str, str]:
    """(entity, project) of a text ENTITY/PROJECT, key: what stands before it; ConfigError if it is none."""
    if match := re.fullmatch(rf"({NAME})/({NAME})", where):
        return match[1], match[2]
    before = key.partition("=")[2]
    meant = re.match(rf"(?:wandb:|https?://[^/]+/)({NAME}/{NAME})(?:/|$)", where)
    nearest = f"; did you mean {before}{meant[1]}?" if meant else ""
    raise ConfigError(f"{key}{where} does not say where; allowed is {before}ENTITY/PROJECT{nearest}")
