"""A W&B server for tests: a real socket, GraphQL checked against a schema, data only through the write path.

    with Server() as server:
        environment = server.environment()   # WANDB_BASE_URL, WANDB_API_KEY, ... for wandb
        server.latency = 0.05                # seconds before every answer
        server.fail(503, times=2)            # the next two requests get this status
        server.bend_runs = lambda page: {**page, "edges": page["edges"][:1]}   # every page of runs from now on
        server.bend_history = lambda lines: lines[:-1]                         # every history of a run
        server.requests                      # what was asked: ["Viewer", "Runs", "file_stream", ...]

What the unmodified wandb package sends is parsed and validated against SCHEMA, and a query that does not fit
is refused as the real server would. Runs enter only through UpsertBucket and file_stream, that is by
`wandb.init` online or by `wandb sync`. What the schema leaves out, this server cannot do.
"""

from __future__ import annotations

import base64
import gzip
import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import graphql

SCHEMA = graphql.build_schema((Path(__file__).parent / "schema.graphql").read_text())
for _name in ("JSON", "JSONString", "Int64", "DateTime", "Duration"):
    _scalar = SCHEMA.type_map[_name]
    assert isinstance(_scalar, graphql.GraphQLScalarType)
    _scalar.parse_value = _scalar.serialize = lambda value: value  # type: ignore[method-assign]

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": lambda a, b: a == b,
    "$ne": lambda a, b: a != b,
    "$in": lambda a, b: a in b,
    "$nin": lambda a, b: a not in b,
    "$gt": lambda a, b: a is not None and a > b,
    "$gte": lambda a, b: a is not None and a >= b,
    "$lt": lambda a, b: a is not None and a < b,
    "$lte": lambda a, b: a is not None and a <= b,
}


def now() -> str:
    """The time as the server writes it, to the microsecond."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass
class Run:
    """A run as the server keeps it; `files` holds the lines that file_stream appended."""

    name: str
    project: Project
    created: str = field(default_factory=now)
    heartbeat: str = field(default_factory=now)
    state: str = "running"
    exit_code: int | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    config: str = "{}"
    summary: str = "{}"
    files: dict[str, list[str]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return base64.b64encode(
            f"Run:v1:{self.project.entity}/{self.project.name}/{self.name}".encode()
        ).decode()

    @property
    def history(self) -> list[str]:
        return self.files.get("wandb-history.jsonl", [])

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The history, parsed once per change."""
        return [json.loads(line) for line in self.history]

    def copy(self, name: str, **changes: Any) -> Run:
        """Keep this run of a cell under another id too, as the run of that cell; changes: of its fields."""
        config = json.loads(self.config)
        config["cell"]["value"]["identity"] = name
        run = replace(self, name=name, heartbeat=now(), config=json.dumps(config), **changes)
        self.project.runs[name] = run
        return run

    def value(self, key: str) -> Any:
        """What a filter or an order means by this key."""
        plain = {
            "name": self.name, "state": self.state, "createdAt": self.created, "created_at": self.created,
            "heartbeatAt": self.heartbeat, "heartbeat_at": self.heartbeat,
            "displayName": self.fields.get("displayName"), "display_name": self.fields.get("displayName"),
            "group": self.fields.get("groupName"), "jobType": self.fields.get("jobType"),
            "tags": self.fields.get("tags", []),
        }  # fmt: skip
        if key in plain:
            return plain[key]
        kind, _, rest = key.partition(".")
        if kind == "config":
            return _path(
                {k: v["value"] for k, v in json.loads(self.config).items()},
                rest.removesuffix(".value"),
            )
        if kind == "summary_metrics":
            return _path(json.loads(self.summary), rest)
        raise graphql.GraphQLError(f"unknown key {key}")

    def matches(self, filters: Mapping[str, Any]) -> bool:
        """A MongoDB-like filter, as the server understands it."""
        for key, wanted in filters.items():
            if key == "$and":
                if not all(self.matches(part) for part in wanted):
                    return False
            elif key == "$or":
                if not any(self.matches(part) for part in wanted):
                    return False
            else:
                value = self.value(key)
                tests = wanted if isinstance(wanted, dict) else {"$eq": wanted}
                for operator, operand in tests.items():
                    options = value if isinstance(value, list) else [value]
                    if not any(COMPARE[operator](option, operand) for option in options):
                        return False
        return True


def _path(tree: Any, dotted: str) -> Any:
    """The value of a dotted key; a key that holds a dot itself comes first."""
    if not isinstance(tree, dict) or dotted in tree:
        return tree.get(dotted) if isinstance(tree, dict) else None
    head, _, rest = dotted.partition(".")
    return _path(tree.get(head), rest) if rest else None


@dataclass
class Project:
    """A project of an entity, with its runs by name and its reports by id.

    deleted: names of runs that somebody deleted in the UI. Their names stay taken: UpsertBucket answers HTTP 409.
    """

    entity: str
    name: str
    runs: dict[str, Run] = field(default_factory=dict)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)

    def delete(self, name: str) -> None:
        """What the UI's "delete" does to a run."""
        del self.runs[name]
        self.deleted.add(name)


class Conflict(Exception):
    """What the server answers with HTTP 409."""


HANG_UP, HANG = 0, -1
"""In place of a status: close the connection without a word, or keep it and say nothing."""


@dataclass(frozen=True)
class Fault:
    """An answer that was ordered; body: "" for the usual JSON of a failure."""

    status: int
    headers: dict[str, str]
    body: str


class Server:
    """See the module. `entities`: API key -> entities it may read and write, the first being its default."""

    def __init__(self, entities: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self.entities = dict(entities or {"a" * 40: ("lab",)})
        self.projects: dict[tuple[str, str], Project] = {}
        self.requests: list[str] = []
        self.latency = 0.0
        self.waiting = self.most_waiting = 0
        """Requests that wait for an answer now, and at most so far."""
        self.private: set[str] = set()
        """Entities for which every request is refused with 403."""
        self.bend_runs: Callable[[dict[str, Any]], Any] = lambda page: page
        self.bend_history: Callable[[list[str]], Any] = lambda lines: lines
        self._faults: list[tuple[str, Fault]] = []
        self._over = threading.Event()
        self._lock = threading.RLock()
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.server = self
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._http.shutdown()
        self._http.server_close()

    def environment(self, folder: Path, key: str | None = None) -> dict[str, str]:
        """Variables for a process that talks to this server and leaves its files in a folder."""
        return {
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": key or next(iter(self.entities)),
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_SILENT": "true",
            **{
                f"WANDB_{kind}_DIR": str(folder / f"wandb-{kind}".lower())
                for kind in ("CACHE", "CONFIG", "DATA")
            },
            "XDG_CACHE_HOME": str(folder / "cache"),
            "NETRC": str(folder / "netrc"),
        }

    def fail(
        self,
        status: int,
        times: int = 1,
        operation: str = "",
        headers: Mapping[str, str] | None = None,
        body: str = "",
    ) -> None:
        """Answer the next `times` requests (of an operation, such as "Runs") with a status; HANG_UP, HANG.

        body: instead of the usual JSON.
        """
        self._faults += [(operation, Fault(status, dict(headers or {}), body))] * times

    def project(self, entity: str, name: str, create: bool = False) -> Project | None:
        """A project, made on the first write to it as the real server does."""
        if create:
            self.projects.setdefault((entity, name), Project(entity, name))
        return self.projects.get((entity, name))

    def fault(self, operation: str) -> Fault | None:
        """What to fail this request with, if it was ordered."""
        with self._lock:
            for index, (wanted, fault) in enumerate(self._faults):
                if wanted in ("", operation):
                    del self._faults[index]
                    return fault
        return None

    def file_stream(self, entity: str, project: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Lines of a run's files, each chunk at its offset; `complete` ends the run."""
        with self._lock:
            run = self.projects[entity, project].runs[name]
            run.heartbeat = now()
            for file, chunk in (body.get("files") or {}).items():
                if file == "wandb-summary.json":
                    run.summary = chunk["content"][-1]
                    continue
                lines = run.files.setdefault(file, [])
                if chunk["offset"] > len(lines):
                    raise ValueError(
                        f"{file}: offset {chunk['offset']} leaves a hole after {len(lines)} lines"
                    )
                lines[chunk["offset"] : chunk["offset"] + len(chunk["content"])] = chunk["content"]
            run.__dict__.pop("rows", None)
            if body.get("complete"):
                run.exit_code = body.get("exitcode")
                run.state = "finished" if run.exit_code == 0 else "failed"
        return {"exitcode": run.exit_code, "limits": {}}


class Root:
    """The resolvers: what a key may see. Names are those of the schema."""

    def __init__(self, server: Server, entities: tuple[str, ...]) -> None:
        self.server = server
        self.entities = entities

    def _check(self, entity: str | None) -> str:
        entity = entity or self.entities[0]
        if entity not in self.entities:
            raise PermissionError(f"permission denied for {entity}")
        return entity

    def viewer(self, _info: Any) -> Any:
        teams = {"edges": [{"node": {"name": entity}} for entity in self.entities]}
        name = self.entities[0]
        return {
            "id": f"user-{name}", "entity": name, "username": name, "email": f"{name}@example.org",
            "name": name, "admin": False, "flags": "{}", "teams": teams,
        }  # fmt: skip

    def serverInfo(self, _info: Any) -> Any:
        return {"features": [], "cliVersionInfo": "{}", "latestLocalVersionInfo": None}

    def entity(self, _info: Any, name: str) -> Any:
        return {"id": f"entity-{name}", "name": name, "organization": None}

    def project(self, _info: Any, name: str, entityName: str | None = None) -> Any:
        found = self.server.project(self._check(entityName), name)
        return None if found is None else ProjectNode(self.server, found)

    model = project

    def models(self, _info: Any, entityName: str | None = None, **_: Any) -> Any:
        entity = self._check(entityName)
        found = [ProjectNode(self.server, project) for project in self.server.projects.values()]
        edges = [{"node": node, "cursor": node.id} for node in found if node.entityName == entity]
        return {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}

    def upsertModel(self, _info: Any, input: Mapping[str, Any]) -> Any:
        found = self.server.project(self._check(input.get("entityName")), input["name"], create=True)
        assert found is not None
        return {
            "model": ProjectNode(self.server, found),
            "project": ProjectNode(self.server, found),
            "inserted": True,
        }

    def upsertBucket(self, _info: Any, input: Mapping[str, Any]) -> Any:
        with self.server._lock:
            if input.get("id"):
                _, _, path = base64.b64decode(input["id"]).decode().split(":")
                entity, project_name, name = path.split("/")
            else:
                entity, project_name = (
                    input.get("entityName"),
                    input.get("modelName") or "uncategorized",
                )
                name = input["name"]
            project = self.server.project(self._check(entity), project_name, create=True)
            assert project is not None
            if name in project.deleted:
                path = f"{project.entity}/{project.name}/{name}"
                raise Conflict(f"run {path} was previously created and deleted; try a new run name")
            inserted = name not in project.runs
            run = project.runs.setdefault(name, Run(name, project))
            run.heartbeat, run.state = now(), input.get("state") or "running"
            run.config = input.get("config") or run.config
            run.summary = input.get("summaryMetrics") or run.summary
            run.fields.update({key: value for key, value in input.items() if value is not None})
        settings = {"serverMessages": []}
        return {"bucket": RunNode(run, self.server), "inserted": inserted, "serverSettings": settings}

    def createRunFiles(self, _info: Any, input: Mapping[str, Any]) -> Any:
        prefix = f"{self.server.url}/storage/{input['entityName']}/{input['projectName']}/{input['runName']}"
        files = [{"name": name, "uploadUrl": f"{prefix}/{name}"} for name in input["files"]]
        return {"runID": input["runName"], "uploadHeaders": [], "files": files}

    def upsertView(self, _info: Any, input: Mapping[str, Any]) -> Any:
        entity = self._check(input.get("entityName"))
        project = self.server.project(entity, input.get("projectName") or "", create=True)
        assert project is not None
        view = {"id": input.get("id") or base64.b64encode(f"View:{len(project.views)}".encode()).decode()}
        view = project.views.setdefault(view["id"], view)
        view.update({key: value for key, value in input.items() if value is not None})
        node = {
            **view,
            "project": ProjectNode(self.server, project),
            "createdAt": now(),
            "updatedAt": now(),
        }
        return {"view": node, "inserted": True}


class ProjectNode:
    """`Project` of the schema."""

    def __init__(self, server: Server, project: Project) -> None:
        self._server = server
        self._project = project
        self.name = project.name
        self.id = self.internalId = str(list(server.projects).index((project.entity, project.name)) + 1)
        self.entity = {"id": f"entity-{project.entity}", "name": project.entity}
        self.entityName = project.entity
        self.readOnly = self.isBenchmark = False
        self.createdAt = now()

    def _select(self, filters: str | None) -> list[Run]:
        wanted = json.loads(filters or "{}")
        return [run for run in list(self._project.runs.values()) if run.matches(wanted)]

    def runCount(self, _info: Any, filters: str | None = None) -> int:
        return len(self._select(filters))

    def runs(
        self,
        _info: Any,
        filters: str | None = None,
        after: str | None = None,
        first: int = 50,
        order: str | None = None,
    ) -> Any:
        runs = self._select(filters)
        key = (order or "+created_at").replace("-", "+", 1).removeprefix("+")
        runs.sort(key=lambda run: (run.value(key) is None, run.value(key), run.name))
        if (order or "").startswith("-"):
            runs.reverse()
        start = int(base64.b64decode(after)) if after else 0
        first = min(first, 1000)
        page = runs[start : start + first]
        edges = [
            {
                "node": RunNode(run, self._server),
                "cursor": base64.b64encode(str(start + index + 1).encode()).decode(),
            }
            for index, run in enumerate(page)
        ]
        more = start + len(page) < len(runs)
        info = {"endCursor": edges[-1]["cursor"] if edges else None, "hasNextPage": more}
        return self._server.bend_runs({"edges": edges, "pageInfo": info})

    def run(self, _info: Any, name: str) -> Any:
        found = self._project.runs.get(name)
        return None if found is None else RunNode(found, self._server)

    def bucket(self, info: Any, name: str, missingOk: bool = False) -> Any:
        return self.run(info, name)

    def allViews(self, _info: Any, viewType: str = "runs", **_: Any) -> Any:
        views = [view for view in self._project.views.values() if view["type"] == viewType]
        edges = [{"node": view, "cursor": view["id"]} for view in views]
        return {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}


class RunNode:
    """`Run` of the schema."""

    def __init__(self, run: Run, server: Server) -> None:
        self._run = run
        self._server = server
        self.id, self.name, self.state, self.config = (
            run.id,
            run.name,
            run.state,
            run.config,
        )
        self.summaryMetrics = run.summary
        self.createdAt, self.heartbeatAt = run.created, run.heartbeat
        get = run.fields.get
        self.displayName, self.group, self.jobType = (
            get("displayName") or run.name,
            get("groupName"),
            get("jobType"),
        )
        self.tags, self.notes, self.description = (
            get("tags") or [],
            get("notes"),
            get("description"),
        )
        self.commit, self.host = get("commit"), get("host")
        self.sweepName = None
        self.readOnly = False
        self.systemMetrics = "{}"
        self.user = {"name": run.project.entity, "username": run.project.entity}
        self.historyLineCount = len(run.history)
        self.eventsLineCount = len(run.files.get("wandb-events.jsonl", []))
        self.logLineCount = len(run.files.get("output.log", []))

    @property
    def project(self) -> ProjectNode:
        return ProjectNode(self._server, self._run.project)

    @property
    def projectId(self) -> str:
        return self.project.id

    @property
    def historyTail(self) -> str:
        return json.dumps(self._run.history[-1:])

    @property
    def eventsTail(self) -> str:
        return json.dumps(self._run.files.get("wandb-events.jsonl", [])[-1:])

    def wandbConfig(self, _info: Any, keys: list[str]) -> str:
        internal = json.loads(self.config).get("_wandb", {}).get("value", {})
        return json.dumps({key: internal[key] for key in keys if key in internal})

    @property
    def historyKeys(self) -> Any:
        rows = self._run.rows
        if not rows:
            return None
        keys: dict[str, Any] = {}
        for row in rows:
            for key in row:
                keys.setdefault(
                    key,
                    {
                        "typeCounts": [{"type": "number", "count": 0}],
                        "monotonic": False,
                    },
                )
        return {"lastStep": max(row["_step"] for row in rows), "sets": [], "keys": keys}

    def history(
        self,
        _info: Any,
        minStep: int = 0,
        maxStep: int | None = None,
        samples: int = 500,
    ) -> list[str] | None:
        pairs = zip(self._run.rows, self._run.history, strict=True)
        lines = [
            line
            for row, line in pairs
            if minStep <= row["_step"] and (maxStep is None or row["_step"] < maxStep)
        ]
        return self._server.bend_history(lines[:samples])

    def events(self, _info: Any, samples: int = 500) -> list[str]:
        return self._run.files.get("wandb-events.jsonl", [])[:samples]

    def sampledHistory(self, _info: Any, specs: list[str]) -> list[Any]:
        answer = []
        for spec in map(json.loads, specs):
            keys, low, high = (
                spec.get("keys", []),
                spec.get("minStep", 0),
                spec.get("maxStep", float("inf")),
            )
            rows = [
                row
                for row in self._run.rows
                if low <= row["_step"] < high and all(key in row for key in keys)
            ]
            rows = [{key: row[key] for key in keys} if keys else row for row in rows]
            answer.append(rows[: spec.get("samples", 500)])
        return answer

    def parquetHistory(self, _info: Any, liveKeys: list[str]) -> Any:
        return {"parquetUrls": [], "liveData": []}


@lru_cache(maxsize=256)
def checked(
    query: str,
) -> tuple[graphql.DocumentNode, str, tuple[graphql.GraphQLError, ...]]:
    """A query, its operation's name, and in what it does not fit the schema."""
    document = graphql.parse(query)
    operations = [node for node in document.definitions if isinstance(node, graphql.OperationDefinitionNode)]
    names = [operation.name.value for operation in operations if operation.name]
    return (
        document,
        names[0] if names else "anonymous",
        tuple(graphql.validate(SCHEMA, document)),
    )


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    server: Server

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error of the server."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Http

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(
        self, status: int, body: Any, headers: Mapping[str, str] | None = None, text: str = ""
    ) -> None:
        data = (text or json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if text.startswith("<") else "application/json")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "gzip" in self.headers.get("Accept-Encoding", "") and len(data) > 10_000:
            data = gzip.compress(data, 1)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def _entities(self) -> tuple[str, ...] | None:
        kind, _, code = self.headers.get("Authorization", "").partition(" ")
        key = base64.b64decode(code).decode().partition(":")[2] if kind == "Basic" else code
        return self.server.server.entities.get(key)

    def _refused(self, operation: str) -> bool:
        """Note the request, wait, and fail it if it was ordered or has no key."""
        server = self.server.server
        server.requests.append(operation)
        with server._lock:
            server.waiting += 1
            server.most_waiting = max(server.most_waiting, server.waiting)
        time.sleep(server.latency)
        with server._lock:
            server.waiting -= 1
        fault = server.fault(operation)
        if fault is None and self._entities() is None:
            fault = Fault(401, {}, "")
        if fault is None:
            return False
        if fault.status in (HANG, HANG_UP):
            if fault.status == HANG:
                server._over.wait()
            self.close_connection = True
        else:
            body = {"errors": [{"message": f"status {fault.status}"}]}
            self._answer(fault.status, body, fault.headers, fault.body)
        return True

    def do_POST(self) -> None:
        body = json.loads(self._body() or b"{}")
        path = urlsplit(self.path).path
        if path.endswith("/graphql"):
            self._graphql(body)
        elif path.endswith("/file_stream"):
            if not self._refused("file_stream"):
                entity, project, run = [unquote(part) for part in path.split("/")[-4:-1]]
                self._answer(200, self.server.server.file_stream(entity, project, run, body))
        else:
            self._answer(404, {"error": f"{path} is not here"})

    def _graphql(self, body: Mapping[str, Any]) -> None:
        document, name, errors = checked(body["query"])
        if self._refused(name):
            return
        if errors:
            print(f"SCHEMA: {name}: {errors[0].message}")
            self._answer(400, {"errors": [{"message": error.message} for error in errors]})
            return
        entities = self._entities()
        assert entities is not None
        result = graphql.execute_sync(
            SCHEMA,
            document,
            Root(self.server.server, entities),
            variable_values=body.get("variables"),
        )
        if any(isinstance(error.original_error, PermissionError) for error in result.errors or []):
            self._answer(403, {"errors": [{"message": "permission denied"}], "data": None})
            return
        answer: dict[str, Any] = {"data": result.data}
        if result.errors:
            answer["errors"] = [{"message": error.message, "path": error.path} for error in result.errors]
        taken = any(isinstance(error.original_error, Conflict) for error in result.errors or [])
        self._answer(409 if taken else 200, answer)

    def do_PUT(self) -> None:
        self._body()
        self.server.server.requests.append("PUT")
        self._answer(200, {})

    def do_GET(self) -> None:
        self._answer(404, {"error": f"{self.path} is not here"})
