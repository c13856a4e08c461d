"""The sections around the numbers: holes, confounds, cost, protocol, threats, provenance."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ablations.verdicts import statistics
from ablations.verdicts.images import right_images
from ablations.verdicts.results import NOT_NEEDED
from lightning_module.cell.identity import CONTENT
from reports.numbers.join import PENDING, SPEED, TEST_ERROR, Collected, ordered
from reports.pages.document import (
    Block,
    Column,
    Commands,
    Items,
    Link,
    Section,
    Table,
    Text,
    text_columns,
)
from reports.sections.rounds import left_out, rounds_table, seed_threats
from reports.sections.speed import speed_threats
from reports.sections.tables import place_columns
from reports.words import GIB, HOUR, metric_text, time_unit

COMMANDS_SHOWN = 20
FEW = 3
"""Values of a provenance column that are named although every cell may have another one."""

TEST_IMAGES = {"digits": 355, "cifar10": 10_000, "cifar100": 10_000, "imagenet": 50_000}
"""Images in the test set of each data set, for its own sampling error."""


UNSAID = {
    "planned": "never started",
    "queued": "waits in the queue",
    "running": "is being trained",
    "killed": "was interrupted; running it again resumes it",
}
"""Why a cell in this state has no number, where its record gives no reason."""


def open_cells(c: Collected) -> Section:
    """What is missing, why, and what to type."""
    rows = []
    for cell in c.cells[c.cells["state"] != "finished"].to_dict("records"):
        unsaid = (
            left_out(c)
            if cell["state"] == NOT_NEEDED
            else UNSAID.get(cell["state"], "no reason was recorded")
        )
        reason = cell["reason"] or unsaid
        epoch = int(cell["epoch"]) if cell["epoch"] > 0 else None
        rows.append([cell["name"], cell["state"], reason, epoch, cell["identity"]])
    head = [*text_columns("cell", "state", "reason"), Column("epoch"), *text_columns("identity")]
    blocks: list[Block] = [Table("open_cells", "Cells without a number.", head, rows)] if rows else []
    todo = c.cells.loc[c.cells["state"].isin(set(PENDING) - {"running", "queued"}), "command"].tolist()
    if todo:
        blocks += [Text("What is left of it, in one command:"), Commands((c.manifest.command,))]
        if todo != [c.manifest.command]:
            rest = len(todo) - COMMANDS_SHOWN
            lines = todo[:COMMANDS_SHOWN] + [f"# and {rest} more"] * (rest > 0)
            blocks += [Text("One by one:"), Commands(tuple(lines))]
    excluded = [[" ".join(each["overrides"]), each["reason"]] for each in c.manifest.excluded]
    if excluded:
        head = text_columns("overrides", "reason")
        blocks.append(Table("excluded", "Combinations that cannot exist.", head, excluded))
    return Section("Missing, failed and diverged cells", tuple(blocks))


def provenance(c: Collected, command: str) -> Section:
    """Where the numbers come from and how to make the report again."""
    started = c.cells[c.cells["attempts"] > 0]
    commits = started["commit"].str[:12] + started["dirty"].map({True: " with changes"}).fillna("")
    rows = [
        ["records", f"{len(started)} of {len(c.cells)}, SHA-256 {checksum(c.cells)}"],
        ["commit", _values(commits)],
        ["versions", _values(started["versions"])],
        ["hardware", _values(started["hardware"])],
        ["images, CRC-32", _values(started["images"])],
        ["steps made", _values(started["identity"].map(lambda name: executed(c.events.get(name, ()))))],
        ["attempts", f"{int(started['attempts'].sum())} for {len(started)} cells"],
        ["jobs", _few(started["job"])],
        ["W&B", _few(started["url"])],
    ]
    blocks: tuple[Block, ...] = (
        Table("provenance", "", text_columns("", ""), [row for row in rows if row[1]]),
        Text("This report again, byte for byte, from the same records:"),
        Commands((command,)),
        *rounds_table(c),
        _cells_table(c),
    )
    return Section("Provenance", blocks, folded=True)


def executed(events: Sequence[Mapping[str, Any]]) -> str:
    """How the steps of a run were made, of each attempt once: "by a CUDA graph, 5 compiled graphs"; "" if it does not
    say."""
    return " then ".join(dict.fromkeys(_made(told) for told in events if told.get("event") == "execution"))


def _made(told: Mapping[str, Any]) -> str:
    reason = f" ({told['without_graph']})" if told.get("without_graph") else ""
    parts = ["by a CUDA graph" if told.get("cuda_graph") else f"without a CUDA graph{reason}"]
    if compiled := told.get("compiled_graphs"):
        breaks = f" with {told['graph_breaks']} breaks" if told.get("graph_breaks") else ""
        parts.append(f"{compiled} compiled graph{'s' * (compiled != 1)}{breaks}")
    return ", ".join(parts)


def _cells_table(c: Collected) -> Table:
    """Every cell by name, identity and record."""
    unit, length = time_unit(c.cells["seconds"].max())
    jobs = bool(c.cells["job"].ne("").any())
    columns = text_columns("cell", "identity", "state")
    columns += [Column(metric_text(c.metric), 2), Column("epochs"), Column(unit, 1)]
    columns += text_columns("record, SHA-256", *["job"] * jobs)
    rows = []
    told = ["name", "identity", "state", c.metric, "epoch", "seconds", "checksum", "job", "url"]
    for cell in c.cells[told].to_dict("records"):
        error = cell[c.metric] if cell["state"] == "finished" else math.nan
        numbers = (error, cell["epoch"], cell["seconds"] / length)
        known = [None if math.isnan(value) else value for value in numbers]
        identity = Link(cell["identity"], cell["url"])
        rows.append([cell["name"], identity, cell["state"], *known, cell["checksum"] or None])
        rows[-1] += [cell["job"] or None] * jobs
    return Table("cells", "Every cell, its state and its record.", columns, rows)


def _values(column: pd.Series) -> str:
    """The different values of a provenance column, with how many cells have each if they differ."""
    counts = column[column != ""].value_counts(sort=False)
    if len(counts) <= 1:
        return "".join(map(str, counts.index))
    shown = [f"{value} ({count} cells)" for value, count in list(counts.items())[:8]]
    return "; ".join(shown + ([f"{len(counts) - 8} more"] if len(counts) > 8 else []))


def _few(column: pd.Series) -> str:
    """The values of a provenance column that every cell may have another of: all if they are few."""
    values = list(dict.fromkeys(column[column != ""]))
    return ", ".join(values) if len(values) <= FEW else f"{len(values)}, each beside its cell below"


def checksum(cells: pd.DataFrame) -> str:
    """First 16 hexadecimal digits of a SHA-256 over identities and record checksums."""
    lines = sorted(map(" ".join, zip(cells["identity"], cells["checksum"], strict=True)))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def threats_to_validity(c: Collected) -> Section:
    """What could be wrong with the numbers, from the numbers."""
    threats = []
    few = sum(len(place.cells) < 3 for place in c.places)
    if few:
        threats.append(
            f"{few} of {len(c.places)} means rest on fewer than three seeds: intervals are wide or missing."
        )
    finished = c.cells[c.cells["state"] == "finished"]
    for (name,) in ordered((name,) for name in finished.get("data.name", ())):
        of_it = finished[finished["data.name"] == name]
        images = TEST_IMAGES.get(name)
        errors = of_it[c.metric].dropna()
        if images and len(errors) and c.metric == TEST_ERROR:
            uncertain = 1.96 * statistics.sampling_error(errors.mean(), images)
            threats.append(
                f"The test set of {name} has {images:,} images: that alone makes an error of "
                f"{errors.mean():.1f} % uncertain by ±{uncertain:.2f} points (95 %). Verdicts are about these images; "
                "what would change on others is in the intervals “on new images”."
            )
            unknown = sum(
                right_images(c.events.get(name, ()), c.metric) is None for name in of_it["identity"]
            )
            if unknown:
                threats.append(
                    f"{unknown} of {len(of_it)} finished cells do not say which images they got right (an older "
                    "version trained them): their differences have no interval on new images."
                )
        copies = of_it.loc[of_it["images"] != "", "images"].nunique()
        own = CONTENT in of_it and of_it[CONTENT].notna().any()  # of which other images are another data set
        if copies > 1 and not own:
            threats.append(f"The cells have {copies} different copies of {name}; see provenance.")
        if "data.verify" in of_it and of_it["data.verify"].eq(False).any():
            threats.append(
                f"The files of {name} were not compared with the official ones (data.verify=false): published "
                "numbers beside these may be of other images."
            )
    if (c.cells["state"] == "diverged").any():
        threats.append("Cells diverged. Means leave them out and so look better than the method is.")
    kinds = {"commit": "commits of the code", "hardware": "kinds of hardware"}
    for key, what in (kinds | {"versions": "sets of versions"}).items():
        count = finished[key][finished[key] != ""].nunique()
        if count > 1:
            threats.append(f"The cells ran with {count} different {what}; see provenance.")
    if finished["dirty"].eq(True).any():
        threats.append(
            "Some cells ran from a tree with uncommitted changes; their commit does not name their code."
        )
    departed = finished[finished["departure"] != ""]
    if len(departed):
        said = [f"{name}: {how}" for name, how in zip(departed["name"], departed["departure"], strict=True)]
        shown = said[:FEW] + [f"{len(said) - FEW} more"] * (len(said) > FEW)
        cells = "1 cell was" if len(said) == 1 else f"{len(said)} cells were"
        threats.append(f"{cells} not trained at the recipe's learning rates. {'; '.join(shown)}.")
    threats += seed_threats(c)
    if c.is_benchmark:
        threats += speed_threats(c)
    else:
        threats.append("Errors are those of the last epoch, never the best one on the test set.")
    return Section("Threats to validity", (Items(tuple(threats)),))


def cost_table(c: Collected) -> Table:
    """Time, throughput and memory by place, and in all; the time beside what was planned."""
    unit, length = time_unit(c.cells["seconds"].max())
    run = c.cells[c.cells["epoch"] > 0]
    run = run.assign(spent=run["seconds"] * run["devices"].fillna(1))
    total, long = time_unit(run["spent"].sum())
    head = [*place_columns(c), Column("cells run"), Column(f"device-{total}", 1)]
    planned = c.manifest.expected
    done = run["identity"].isin(planned.keys()) & run["state"].eq("finished")
    run = run.assign(planned=run["identity"].map(planned).where(done), of_planned=run["spent"].where(done))
    if planned:
        head += [Column(f"planned, device-{total}", 1), Column("took / planned", 2)]
    head += [Column(f"{unit} per cell", 1), Column("images/s")]
    if "peak_memory" in c.history:
        head.append(Column("peak memory, GiB", 2))
        peaks = c.history.groupby("identity", observed=True)["peak_memory"].max()
        run = run.assign(peak=run["identity"].map(peaks).astype(float))

    def line(labels: Sequence[str], cells: pd.DataFrame) -> list[object]:
        if cells.empty:
            return [*labels, 0, 0.0, *[None] * (len(head) - len(labels) - 2)]
        values: list[object] = [*labels, len(cells), float(cells["spent"].sum()) / long]
        if planned:
            wanted = HOUR * float(cells["planned"].sum())
            took = float(cells["of_planned"].sum()) / wanted if wanted else None
            values += [wanted / long if wanted else None, took]
        values += [float(cells["seconds"].mean()) / length, float(cells[SPEED].median())]
        return values + ([float(cells["peak"].max()) / GIB] if "peak" in cells else [])

    of_place = dict(list(run.groupby(["row", "column"], sort=False)))
    nothing = run.iloc[:0]
    rows = [line(place.labels, of_place.get((place.row, place.column), nothing)) for place in c.places]
    if len(run):
        rows.append(line(["all", *[""] * (len(place_columns(c)) - 1)], run))
    caption = (
        "Time of the epochs that count, on the hardware under provenance, times the devices of each cell; median "
        "images/s."
    )
    if planned:
        caption += (
            " Planned: of the finished cells, before they first ran; took / planned is of the same cells. "
            f"Where the plan came from: {c.manifest.expected_from}."
        )
    return Table("cost", caption, head, rows)
