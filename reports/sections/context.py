"""The sections around the numbers: holes, confounds, cost, protocol, threats, provenance."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import pandas as pd

from reports.numbers import statistics
from reports.numbers.deviations import changes, confounds
from reports.numbers.join import OPEN, Collected, level_text, ordered, value_text
from reports.pages.document import Block, Column, Commands, Items, Section, Table, Text
from reports.sections import speed, tables
from reports.sections.tables import listed

COMMANDS_SHOWN = 20
FEW = 3
GIB = 2**30
SPEED = "images_per_second"
MEMORY = {"peak_memory": "peak memory, GiB", "peak_memory_bytes": "peak memory, GiB"}
"""Names under which the largest allocated memory may have been logged, in bytes."""

TEST_IMAGES = {"digits": 355, "cifar10": 10_000, "cifar100": 10_000, "imagenet": 50_000}
"""Images in the test set of each data set, for its own sampling error."""


def open_cells(c: Collected) -> Section:
    """What is missing, why, and what to type."""
    table = tables.open_table(c)
    excluded = [[" ".join(e["overrides"]), e["reason"]] for e in c.manifest.excluded]
    blocks: list[Block] = []
    if table.rows:
        blocks.append(table)
    todo = c.cells.loc[c.cells["state"].isin([state for state in OPEN if state not in ("running", "queued")])]
    if len(todo):
        blocks.append(Text("What is left of it, in one command:"))
        blocks.append(Commands((c.manifest.command,)))
        if len(todo) > 1 or todo["command"].iloc[0] != c.manifest.command:
            blocks.append(Text("One by one:"))
            blocks.append(Commands(_some(todo["command"].tolist())))
    if excluded:
        columns = (Column("overrides", left=True), Column("reason", left=True))
        blocks.append(Table("excluded", "Combinations that cannot exist.", columns, excluded))
    return Section("Missing, failed and diverged cells", tuple(blocks))


def _some(lines: Sequence[str]) -> tuple[str, ...]:
    rest = len(lines) - COMMANDS_SHOWN
    return (*lines[:COMMANDS_SHOWN], *([f"# and {rest} more"] if rest > 0 else []))


def provenance(c: Collected, command: str) -> Section:
    """Where the numbers come from and how to make the report again."""
    started = c.cells[c.cells["attempts"] > 0]
    rows = [
        ["records", f"{len(started)} of {len(c.cells)}, SHA-256 {checksum(c.cells)}"],
        [
            "commit",
            _values(started["commit"].str[:12] + started["dirty"].map({True: " with changes"}).fillna("")),
        ],
        ["versions", _values(started["versions"])],
        ["hardware", _values(started["hardware"])],
        ["attempts", f"{int(started['attempts'].sum())} for {len(started)} cells"],
        ["jobs", _few(started["job"])],
        ["W&B", _few(started["url"])],
    ]
    columns = (Column("", left=True), Column("", left=True))
    blocks: tuple[Block, ...] = (
        Table("provenance", "", columns, [row for row in rows if row[1]]),
        Text("This report again, byte for byte, from the same records:"),
        Commands((command,)),
        _cells_table(c),
    )
    return Section("Provenance", blocks, folded=True)


def _cells_table(c: Collected) -> Table:
    """Every cell by name, identity and record."""
    unit, length = tables.time_unit(c)
    columns = [Column("cell", left=True), Column("identity", left=True), Column("state", left=True)]
    columns += [Column(tables.metric_text(c.metric), 2), Column("epochs"), Column(unit, 1)]
    columns.append(Column("record, SHA-256", left=True))
    jobs = bool(c.cells["job"].ne("").any())
    columns += [Column("job", left=True)] * jobs
    rows = []
    told = ["name", "identity", "state", c.metric, "epoch", "seconds", "checksum", "job", "url"]
    for cell in c.cells[told].to_dict("records"):
        error = cell[c.metric] if cell["state"] == "finished" else math.nan
        numbers = (error, cell["epoch"], cell["seconds"] / length)
        known = [None if math.isnan(value) else value for value in numbers]
        # W&B names the run so too.
        identity = f"[{cell['identity']}]({cell['url']})" if cell["url"] else cell["identity"]
        row = [cell["name"], identity, cell["state"], *known, cell["checksum"] or None]
        row += [cell["job"] or None] * jobs
        rows.append(row)
    return Table("cells", "Every cell, its state and its record.", tuple(columns), rows)


def _values(column: pd.Series) -> str:
    """The different values of a provenance column, with how many cells have each if they differ."""
    counts = column[column != ""].value_counts(sort=False)
    if len(counts) <= 1:
        return "".join(map(str, counts.index))
    shown = [f"{value} ({count} cells)" for value, count in list(counts.items())[:8]]
    return "; ".join(shown + ([f"{len(counts) - 8} more"] if len(counts) > 8 else []))


def _few(column: pd.Series) -> str:
    """The values of a provenance column that every cell may have another of: all if they are few."""
    found = list(dict.fromkeys(column[column != ""]))
    return ", ".join(found) if len(found) <= FEW else f"{len(found)}, each beside its cell below"


def checksum(cells: pd.DataFrame) -> str:
    """First 16 hexadecimal digits of a SHA-256 over identities and record checksums."""
    lines = sorted(f"{i} {c}" for i, c in zip(cells["identity"], cells["checksum"], strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def protocol(c: Collected) -> Section:
    """What every cell has in common, and what departs from the study."""
    configs = [key for key in c.cells.columns if "." in key or key == "seed"]
    same = [key for key in configs if c.cells[key].map(repr).nunique() == 1]
    rows = [[f"`{key}`", value_text(c.cells[key].iloc[0])] for key in same]
    blocks: list[Block] = []
    if c.study:
        blocks.append(
            Text(f"Source: {c.study.source}. Base: {' '.join(f'`{text}`' for text in c.study.base)}.")
        )
        different = changes(c)
        blocks.append(Text(f"Deviations from the study: {listed(different) or 'none'}."))
    for text in dict.fromkeys(p.differs for p in (c.study.published if c.study else ()) if p.differs):
        blocks.append(Text(f"The paper's protocol differs: {text}."))
    columns = (Column("key", left=True), Column("value", left=True))
    blocks.append(Table("protocol", "What all cells have in common.", columns, rows))
    return Section("Protocol and deviations", tuple(blocks), folded=True)


def threats(c: Collected) -> Section:
    """What could be wrong with the numbers, from the numbers."""
    found = []
    sizes = [len(group) for group in c.groups.values()]
    if sizes and min(sizes) < 3:
        few = sum(size < 3 for size in sizes)
        found.append(
            f"{few} of {len(sizes)} means rest on fewer than three seeds: intervals are wide or missing."
        )
    finished = c.cells[c.cells["state"] == "finished"]
    for name in ordered((v,) for v in finished.get("data.name", ())):
        images = TEST_IMAGES.get(name[0])
        values = finished.loc[finished["data.name"] == name[0], c.metric].dropna()
        if images and len(values) and c.metric == "test/error":
            error = 1.96 * statistics.sampling_error(float(values.mean()), images)
            found.append(
                f"The test set of {name[0]} has {images:,} images: that alone makes an error of "
                f"{values.mean():.1f} % uncertain by ±{error:.2f} points (95 %). All cells share it: "
                "paired differences are mostly free of it."
            )
    if (c.cells["state"] == "diverged").any():
        found.append("Cells diverged. Means leave them out and so look better than the method is.")
    for key, what in (
        ("commit", "commits of the code"),
        ("hardware", "kinds of hardware"),
        ("versions", "sets of versions"),
    ):
        kinds = finished[key][finished[key] != ""].nunique()
        if kinds > 1:
            found.append(f"The cells ran with {kinds} different {what}; see provenance.")
    if len(finished) and finished["dirty"].fillna(False).astype(bool).any():
        found.append(
            "Some cells ran from a tree with uncommitted changes; their commit does not name their code."
        )
    if c.is_benchmark:
        found += speed.threats(c)
    else:
        found.append("Errors are those of the last epoch, never the best one on the test set.")
    return Section("Threats to validity", (Items(tuple(found)),))


def confounded(c: Collected) -> Section:
    """What else than the studied factors differs between compared cells."""
    rows = []
    for key, values in confounds(c):
        for value, places in values.items():
            names = [level_text(place, (*c.row_keys, *c.column_keys)) for place in ordered(places)]
            shown = "; ".join(names[:6]) + (f"; {len(names) - 6} more" if len(names) > 6 else "")
            rows.append([f"`{key}`", value_text(value), shown])
    if not rows:
        return Section("", ())
    text = (
        "Cells that are compared differ in more than the studied factors. A difference between them may come "
        "from either; the configuration cannot tell which."
    )
    columns = (Column("key", left=True), Column("value", left=True), Column("cells", left=True))
    return Section(
        "Confounded comparisons",
        (Text(text, "warning"), Table("confounded", "Keys that differ and are not studied.", columns, rows)),
    )


def cost_table(c: Collected) -> Table:
    """Time, throughput and memory by place, and in all; the time beside what was planned."""
    unit, length = tables.time_unit(c)
    run = c.cells[c.cells["epoch"] > 0]
    run = run.assign(spent=run["seconds"] * run["devices"].fillna(1))
    spent = run["spent"].sum()
    total, long = next(
        (u, n) for u, n in (("hours", 3600), ("minutes", 60), ("seconds", 1)) if spent >= 2 * n or n == 1
    )
    head = [*tables.place_columns(c), Column("cells run"), Column(f"device-{total}", 1)]
    planned = c.manifest.expected
    done = run["identity"].isin(planned.keys()) & run["state"].eq("finished")
    run = run.assign(planned=run["identity"].map(planned).where(done), of_planned=run["spent"].where(done))
    if planned:
        head += [Column(f"planned, device-{total}", 1), Column("took / planned", 2)]
    head += [Column(f"{unit} per cell", 1), Column("images/s")]
    memory = next((name for name in MEMORY if name in c.history), None)
    if memory:
        head.append(Column(MEMORY[memory], 2))
        peak = c.history.groupby("identity", observed=True)[memory].max()
        run = run.assign(peak=run["identity"].map(peak).astype(float))

    def line(cells: pd.DataFrame) -> list[object]:
        if cells.empty:
            return [0, 0.0, *[None] * (len(head) - len(tables.place_columns(c)) - 2)]
        values: list[object] = [len(cells), float(cells["spent"].sum()) / long]
        if planned:
            wanted = tables.HOUR * float(cells["planned"].sum())
            took = float(cells["of_planned"].sum()) / wanted if wanted else None
            values += [wanted / long if wanted else None, took]
        values += [float(cells["seconds"].mean()) / length, float(cells[SPEED].median())]
        return values + ([float(cells["peak"].max()) / GIB] if memory else [])

    places = dict(list(run.groupby(["row", "column"], sort=False)))
    rows = [[*tables.place_cells(c, *place), *line(places.get(place, run.iloc[:0]))] for place in c.places]
    if len(run):
        rows.append(["all", *[""] * (len(tables.place_columns(c)) - 1), *line(run)])
    caption = (
        "Time of the epochs that count, on the hardware under provenance, times the devices of each cell; median "
        "images/s."
    )
    if planned:
        caption += (
            " Planned: of the finished cells, before they first ran; took / planned is of the same cells. "
            f"Where the plan came from: {c.manifest.expected_from}."
        )
    return Table("cost", caption, tuple(head), rows)
