from __future__ import annotations

import hashlib
import http.server
import io
import os
import pickle
import resource
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_module.data.cifar import RELEASES, load
from lightning_module.data.config import DataConfig
from lightning_module.data.images import load as load_split
from lightning_module.support.errors import ConfigError

CIFAR10 = DataConfig("cifar10", "all", "per_pixel_mean", 4, True, verify=False, download=False)


def write(root: Path, name: str, images_per_file: int = 20) -> None:
    """The official layout with random images."""
    release = RELEASES[name]
    folder = root / release.folder
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for file in (*release.train, *release.test):
        content = {
            b"data": random.integers(256, size=(images_per_file, 3072), dtype=np.uint8),
            release.labels: random.integers(
                replace(CIFAR10, name=name).classes, size=images_per_file
            ).tolist(),
        }
        (folder / file).write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_official_files(tmp_path, name):
    write(tmp_path, name)
    data = load(replace(CIFAR10, name=name, root=str(tmp_path)))
    first = next(iter(RELEASES[name].train))
    raw = pickle.loads((tmp_path / RELEASES[name].folder / first).read_bytes(), encoding="bytes")
    assert len(data.train) == 20 * len(RELEASES[name].train)
    assert len(data.test) == 20
    assert data.train.images.dtype == torch.uint8
    # channel-major, row by row: the second row of green
    assert data.train.images[3, 1, 1].tolist() == raw[b"data"][3][1024 + 32 : 1024 + 64].tolist()
    assert data.train.labels[3] == raw[RELEASES[name].labels][3]


def test_the_45k_split_holds_out_5000(tmp_path):
    write(tmp_path, "cifar10", images_per_file=1010)
    data = load_split(replace(CIFAR10, root=str(tmp_path), train="45k"))
    assert len(data.train) == 50
    assert data.validation is not None
    assert len(data.validation) == 5000


def damage(tmp_path: Path, how: str) -> DataConfig:
    config = replace(CIFAR10, root=str(tmp_path))
    file = tmp_path / RELEASES["cifar10"].folder / "data_batch_2"
    if how == "no files":
        return config
    if how == "root is a file":
        (tmp_path / "file").write_text("")
        return replace(config, root=str(tmp_path / "file"))
    write(tmp_path, "cifar10")
    if how == "a file missing":
        file.unlink()
    elif how == "cut short":
        file.write_bytes(file.read_bytes()[:5000])
    elif how == "not the official one":
        return replace(config, verify=True)
    elif how == "code inside":
        file.write_bytes(pickle.dumps({b"data": os.system}))
    return config


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no files", r"cifar-10-python\.tar\.gz"),
        ("root is a file", "is a file; it must be the folder"),
        ("a file missing", "data_batch_2"),
        ("cut short", "data_batch_2 is damaged"),
        ("not the official one", r"has MD5 sum .* data\.verify=false"),
        ("code inside", "wants to load"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path, how, said):
    with pytest.raises(ConfigError, match=said) as error:
        load(damage(tmp_path, how))
    assert "\n" not in str(error.value)


def test_without_network_it_says_where_to_get_the_files(tmp_path, monkeypatch):
    url = "http://127.0.0.1:9/cifar-10-python.tar.gz"  # nothing listens there
    monkeypatch.setitem(RELEASES, "cifar10", replace(RELEASES["cifar10"], url=url))
    with pytest.raises(ConfigError, match="no network .*get http://127.0.0.1:9/cifar-10-python"):
        load(replace(CIFAR10, root=str(tmp_path / "new"), download=True))
    assert not list((tmp_path / "new").iterdir())


@pytest.fixture
def served(tmp_path, monkeypatch) -> Iterator[Served]:
    """A server with a small archive in the place of the official one; `root` is where it should go."""
    write(tmp_path / "official", "cifar10")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(tmp_path / "official" / RELEASES["cifar10"].folder, RELEASES["cifar10"].folder)
    found = Served(tmp_path / "new" / "root", packed.getvalue())

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            found.meanwhile()
            self.send_response(200)
            self.send_header("Content-Length", str(len(found.archive)))
            self.end_headers()
            self.wfile.write(found.archive)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz"
        md5 = hashlib.md5(found.archive).hexdigest()
        monkeypatch.setitem(RELEASES, "cifar10", replace(RELEASES["cifar10"], url=url, md5=md5))
        yield found
        server.shutdown()


@dataclass
class Served:
    root: Path
    archive: bytes
    meanwhile: Callable[[], None] = lambda: None

    @property
    def config(self) -> DataConfig:
        return replace(CIFAR10, root=str(self.root), download=True)

    @property
    def left(self) -> list[str]:
        return [path.name for path in self.root.iterdir()]


def test_missing_files_are_fetched_once_with_a_progress_bar(served, capsys):
    assert len(load(served.config).train) == 100
    assert "downloading cifar10: 100%" in capsys.readouterr().err
    assert served.left == ["cifar-10-batches-py"]
    assert len(load(replace(served.config, download=False)).test) == 20


def test_an_archive_that_is_not_the_official_one_leaves_nothing(served):
    served.archive = served.archive[:-1000]
    with pytest.raises(ConfigError, match="did not arrive whole .wrong MD5 sum.; run the command again"):
        load(served.config)
    assert served.left == []


def test_a_full_disk_is_not_called_a_missing_network(served):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(ConfigError, match="has no room for cifar10 .File too large"):
            load(served.config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert served.left == []


def test_of_two_first_downloads_at_once_the_slower_takes_the_files_of_the_other(served):
    served.meanwhile = lambda: write(served.root, "cifar10")
    assert len(load(served.config).train) == 100
    assert served.left == ["cifar-10-batches-py"]
