from __future__ import annotations

import hashlib
import http.server
import io
import os
import pickle
import random
import resource
import tarfile
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_module.data.cifar import RELEASES, load
from lightning_module.data.config import DataConfig
from lightning_module.data.images import load as load_split
from lightning_module.support.errors import ConfigError

CIFAR10 = DataConfig(
    name="cifar10",
    train="all",
    normalisation="per_pixel_mean",
    padding=4,
    flip=True,
    verify=False,
    download=False,
)


def write(root: Path, name: str, images_per_file: int = 20) -> None:
    """The official layout with random images."""
    release = RELEASES[name]
    folder = root / release.folder
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for file in (*release.train, *release.test):
        content = {
            b"data": draw.integers(256, size=(images_per_file, 3072), dtype=np.uint8),
            release.labels.encode(): draw.integers(
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
    assert data.train.labels[3] == raw[RELEASES[name].labels.encode()][3]


def test_the_45k_split_holds_out_5000(tmp_path):
    write(tmp_path, "cifar10", images_per_file=1010)
    data = load_split(replace(CIFAR10, root=str(tmp_path), train="45k"))
    assert len(data.train) == 50
    assert len(data.others["validation"]) == 5000


def stored(entries: Any, protocol: int = 2) -> Callable[[Path], None]:
    return lambda file: unlink(file).write_bytes(pickle.dumps(entries, protocol))


def raw(content: bytes) -> Callable[[Path], None]:
    return lambda file: unlink(file).write_bytes(content)


def unlink(file: Path) -> Path:
    file.unlink()
    return file


def changed(**entries: Any) -> Callable[[Path], None]:
    """One of the official files with other entries; those that are None are left out."""

    def change(file: Path) -> None:
        now = pickle.loads(file.read_bytes()) | {key.encode(): value for key, value in entries.items()}
        stored({key: value for key, value in now.items() if value is not None})(file)

    return change


def zipped(file: Path) -> None:
    content = file.read_bytes()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data_batch_2", content)


def twenty(shape: tuple[int, ...], kind: Any = np.uint8) -> np.ndarray:
    return np.zeros(shape, kind)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file missing": (Path.unlink, "there is no .*data_batch_2, though its folder exists"),
    "a folder": (lambda file: unlink(file).mkdir(), "data_batch_2 cannot be read .Is a directory"),
    "cut short": (lambda file: raw(file.read_bytes()[:5000])(file), "data_batch_2 is damaged"),
    "empty": (raw(b""), "data_batch_2 is damaged"),
    "a page of the web": (raw(b"<html>404</html>"), "data_batch_2 is damaged"),
    "a zip file": (zipped, "data_batch_2 is damaged"),
    "code inside": (stored({b"data": os.system}), "wants to load posix.system"),
    "fills the memory": (raw(b"\x80\x02}r\xff\xff\xff\x0f."), "asks for 268435455 places in memory"),
    "a list": (stored([1, 2]), "it holds a list, no dictionary"),
    "labels of the other release": (changed(labels=None, fine_labels=[0] * 20), "no labels but only data, fine_labels"),
    "no images": (changed(data=None), "it has no data but only labels"),
    "images as a list": (changed(data=[[0] * 3072] * 20), "type int64 for 20 labels; they have shape .20, 3072."),
    "images with axes": (changed(data=twenty((20, 32, 32, 3))), "images of shape .20, 32, 32, 3. and type uint8"),
    "images turned": (changed(data=twenty((20, 3, 32, 32)).transpose(0, 2, 3, 1)), "images of shape .20, 3"),
    "labels in both ways": (stored({b"data": twenty((20, 3072)), b"labels": [0], "labels": [1]}), "a key twice"),
    "images in fractions": (changed(data=twenty((20, 3072), np.float32)), "type float32"),
    "more images than labels": (changed(data=twenty((21, 3072))), "images of shape .21, 3072. .* for 20 labels"),
    "neither images nor labels": (stored({"data": twenty((0, 3072)), "labels": []}, 5), "labels have shape .0,."),
    "objects": (changed(data=np.array([None] * 20)), "elements of type O"),
    "a label too large": (changed(labels=[3] * 17 + [10, 3, 11]), "image 17 has label 10, .*cifar10 go from 0 to 9"),
    "a label too small": (changed(labels=[3] * 19 + [-1]), "image 19 has label -1"),
    "a label without end": (changed(labels=[3] * 19 + [10**30]), "data_batch_2 is damaged"),
    "a label in fractions": (changed(labels=[3] * 19 + [2.5]), "labels have shape .20,. and type float64"),
    "a label in words": (changed(labels=["cat"] * 20), "labels have shape"),
    "labels in pairs": (changed(labels=[[1, 2]] * 20), "labels have shape .20, 2."),
    "labels of many lengths": (changed(labels=[[1], [1, 2]] * 10), "data_batch_2 is damaged"),
}  # fmt: skip


@pytest.mark.parametrize("how", BAD)
def test_bad_files_are_one_sentence(tmp_path, how):
    write(tmp_path, "cifar10")
    spoil, said = BAD[how]
    spoil(tmp_path / RELEASES["cifar10"].folder / "data_batch_2")
    with pytest.raises(ConfigError, match=said) as error:
        load(replace(CIFAR10, root=str(tmp_path)))
    assert "\n" not in str(error.value)
    assert str(tmp_path / RELEASES["cifar10"].folder / "data_batch_2") in str(error.value)


def test_bad_files_are_one_sentence_at_the_door_before_any_work(tmp_path, door):
    write(tmp_path, "cifar10")
    changed(labels=[10] * 20)(tmp_path / RELEASES["cifar10"].folder / "test_batch")
    done = door("-m", "data=cifar10", "data.root=.", "data.verify=false", "model.depth=8,14", "logger=none")
    assert done.returncode == 2
    assert done.stderr == (
        "error: data.root=.: cifar-10-batches-py/test_batch is damaged "
        "(image 0 has label 10, but those of cifar10 go from 0 to 9); fetch it again\n"
    )
    assert not (tmp_path / "runs").exists()


def test_a_file_that_is_not_the_official_one_is_one_sentence(tmp_path):
    write(tmp_path, "cifar10")
    with pytest.raises(ConfigError, match=r"data_batch_1 has MD5 sum .* data\.verify=false"):
        load(replace(CIFAR10, root=str(tmp_path), verify=True))


def test_labels_are_looked_at_even_in_files_with_the_official_sum(tmp_path, monkeypatch):
    write(tmp_path, "cifar100")
    folder = tmp_path / RELEASES["cifar100"].folder
    changed(fine_labels=[100] * 20)(folder / "test")
    made_official(monkeypatch, "cifar100", folder)
    with pytest.raises(
        ConfigError, match="cifar-100-python/test is damaged .image 0 has label 100, .* 0 to 99"
    ):
        load(replace(CIFAR10, name="cifar100", root=str(tmp_path), verify=True))


def made_official(monkeypatch: pytest.MonkeyPatch, name: str, folder: Path) -> None:
    """The MD5 sums of these files become those of the release."""
    train, test = (
        {file: hashlib.md5((folder / file).read_bytes()).hexdigest() for file in files}
        for files in (RELEASES[name].train, RELEASES[name].test)
    )
    monkeypatch.setitem(RELEASES, name, replace(RELEASES[name], train=train, test=test))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no files", r"there is no .*cifar-10-batches-py; data.download=false .*cifar-10-python\.tar\.gz"),
        (
            "file",
            r"file is a file; it must be the folder that holds cifar-10-batches-py/ or cifar-10-python.tar.gz",
        ),
    ],
)
def test_a_root_without_the_files_is_one_sentence(tmp_path, how, said):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=said):
        load(replace(CIFAR10, root=str(tmp_path / how if how == "file" else tmp_path)))


def old_numpy(content: bytes) -> bytes:
    """As NumPy 1 names itself; in protocol 2 names have no length in front."""
    return content.replace(b"cnumpy._core.", b"cnumpy.core.")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("labels", [list, np.array, lambda many: [np.int64(one) for one in many]])
@pytest.mark.parametrize("key", [str, str.encode])
def test_files_as_people_have_them_are_read_alike(tmp_path, protocol, labels, key):
    write(tmp_path, "cifar10")
    config = replace(CIFAR10, root=str(tmp_path))
    official = load(config)
    for file in (tmp_path / RELEASES["cifar10"].folder).iterdir():
        known = pickle.loads(file.read_bytes())
        entries = {
            key("data"): known[b"data"],
            key("labels"): labels(known[b"labels"]),
            key("batch_label"): key("x"),
        }
        file.write_bytes(old_numpy(pickle.dumps(entries, protocol)))
    again = load(config)
    for name in ("train", "test"):
        assert torch.equal(getattr(again, name).images, getattr(official, name).images)
        assert torch.equal(getattr(again, name).labels, getattr(official, name).labels)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_root_may_be_the_folder_of_the_files_itself(tmp_path, name):
    write(tmp_path, name)
    inside = tmp_path / RELEASES[name].folder
    assert len(load(replace(CIFAR10, name=name, root=str(inside))).test) == 20
    (inside / next(iter(RELEASES[name].train))).unlink()
    with pytest.raises(ConfigError, match="there is no"):
        load(replace(CIFAR10, name=name, root=str(inside)))


def test_fewer_images_than_the_official_ones_are_told_of(tmp_path):
    write(tmp_path, "cifar10")
    assert load(replace(CIFAR10, root=str(tmp_path))).remark == (
        f"data.root={tmp_path}: cifar10 has 100 training and 20 test images there, "
        "the official files have 50,000 and 10,000"
    )
    with pytest.raises(ConfigError, match="data.train=45k holds out 5,000 .* only 100; say data.train=all"):
        load_split(replace(CIFAR10, root=str(tmp_path), train="45k"))


def damaged(content: bytes, rng: random.Random) -> tuple[bytes, bool]:
    """Cut, with other entries, or with bytes changed near its ends, where its structure is said.

    And whether that can be seen without knowing the truth: what one byte says of a pixel may be so.
    """
    kind = rng.randrange(4)
    if kind == 0:
        return content[: rng.randrange(len(content))], True
    if kind == 1:
        entries = pickle.loads(content)
        data, labels = entries[b"data"], entries[b"labels"]
        other = rng.choice(
            [
                {b"data": labels, b"labels": data}, {b"data": data}, {b"labels": labels},
                {b"data": data[1:], b"labels": labels}, {b"data": data, b"labels": labels[1:]},
                {b"data": data.astype(np.int16), b"labels": labels}, {b"data": data.T, b"labels": labels},
                {b"data": data, b"labels": [*labels[1:], rng.choice([10, 255, -1, 0.5, None, "3", 2**70])]},
                {b"data": data, b"labels": dict(enumerate(labels))}, list(entries), labels, data, None,
            ]
        )  # fmt: skip
        return pickle.dumps(other, rng.randrange(6)), True
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4])):
        place = rng.choice([rng.randrange(250), -1 - rng.randrange(150)])
        changed[place] = rng.choice([changed[place] ^ 1 << rng.randrange(8), rng.randrange(256)])
    return bytes(changed), False


def test_of_400_damaged_files_each_is_one_error_that_names_it_or_has_the_form_of_the_truth(
    tmp_path, monkeypatch
):
    """The official sums find all of them; without the sums nobody can tell another pixel."""
    rng, outcomes = random.Random(18), Counter[str]()
    write(tmp_path, "cifar10", images_per_file=4)
    file = tmp_path / RELEASES["cifar10"].folder / "data_batch_2"
    made_official(monkeypatch, "cifar10", file.parent)
    loose = replace(CIFAR10, root=str(tmp_path))
    truth, official, known = load(loose), file.read_bytes(), pickle.loads(file.read_bytes())
    for number in range(400):
        good = pickle.dumps(known, protocol=number % 6)
        content, visibly = damaged(good, rng)
        file.write_bytes(content)
        if content != official:
            with pytest.raises(ConfigError, match="data_batch_2 has MD5 sum"):
                load(replace(loose, verify=True))
        try:
            data = load(loose)
        except ConfigError as error:
            outcomes["refused"] += str(file) in str(error) and "\n" not in str(error)
            continue
        outcomes["read"] += 1
        assert not visibly
        assert data.train.images.shape == truth.train.images.shape
        assert data.train.images.dtype == torch.uint8
        assert data.train.labels.shape == truth.train.labels.shape
        assert 0 <= data.train.labels.min() <= data.train.labels.max() <= 9
        others = [index for index in range(20) if not 4 <= index < 8]
        assert torch.equal(data.train.images[others], truth.train.images[others])
    assert outcomes.total() == 400
    assert outcomes["refused"] > 250


def test_without_network_it_says_where_to_get_the_files(tmp_path, monkeypatch):
    url = "http://127.0.0.1:9/cifar-10-python.tar.gz"  # nothing listens there
    monkeypatch.setitem(RELEASES, "cifar10", replace(RELEASES["cifar10"], url=url))
    with pytest.raises(ConfigError, match="no network .*get http://127.0.0.1:9/cifar-10-python"):
        load(replace(CIFAR10, root=str(tmp_path / "new"), download=True))
    assert not list(tmp_path.iterdir())


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


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("empty", [True, False])
def test_an_archive_that_lies_there_is_unpacked(served, verify, empty, monkeypatch):
    folder = served.root.parents[1] / "official" / RELEASES["cifar10"].folder
    made_official(monkeypatch, "cifar10", folder)
    (served.root / "cifar-10-batches-py" if empty else served.root).mkdir(parents=True)
    (served.root / "cifar-10-python.tar.gz").write_bytes(served.archive)
    data = load(replace(served.config, download=False, verify=verify))
    assert len(data.train) == 100
    assert sorted(served.left) == ["cifar-10-batches-py", "cifar-10-python.tar.gz"]


def packed(name: str) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo(name))
    return archive.getvalue()


@pytest.mark.parametrize(
    ("content", "verify", "said"),
    [
        (lambda archive: archive[:-1000], True, "has MD5 sum .*; delete it to have it fetched again"),
        (lambda archive: archive[:-1000], False, "cannot be unpacked to cifar-10-batches-py/ .*; delete it"),
        (lambda _: b"<html>404</html>", False, "cannot be unpacked .*it is no tar archive"),
        (lambda _: b"", False, "cannot be unpacked"),
        (lambda _: packed("cifar-10-batches-py/../../../outside"), False, "cannot be unpacked"),
        (lambda _: packed("readme"), False, "cannot be unpacked .*it holds no such folder"),
        (lambda archive: archive[:2000] + bytes(100) + archive[2100:], False, "cannot be unpacked"),
    ],
)
def test_a_damaged_archive_that_lies_there_is_one_sentence(served, content, verify, said):
    served.root.mkdir(parents=True)
    (served.root / "cifar-10-python.tar.gz").write_bytes(content(served.archive))
    with pytest.raises(ConfigError, match=f"cifar-10-python.tar.gz {said}") as error:
        load(replace(served.config, verify=verify))
    assert "\n" not in str(error.value)
    assert served.left == ["cifar-10-python.tar.gz"]
    assert not (served.root.parent / "outside").exists()


def test_where_an_archive_cannot_be_unpacked_the_command_is_told(tmp_path, door):
    root = tmp_path / "read only"
    root.mkdir()
    (root / "cifar-10-python.tar.gz").write_bytes(b"x")
    root.chmod(0o555)
    done = door("data=cifar10", "data.root='read only'", "logger=none")
    assert done.returncode == 2
    assert done.stderr == (
        "error: data.root=read only is not a folder one can write to (Permission denied); unpack it where you can:"
        " tar -xzf 'read only/cifar-10-python.tar.gz' -C FOLDER and say data.root=FOLDER\n"
    )


def test_missing_files_are_fetched_once_with_a_progress_bar(served, capsys):
    assert len(load(served.config).train) == 100
    assert "downloading cifar10: 100%" in capsys.readouterr().err
    assert served.left == ["cifar-10-batches-py"]
    assert len(load(replace(served.config, download=False)).test) == 20


def test_an_archive_that_is_not_the_official_one_leaves_nothing(served):
    served.archive = served.archive[:-1000]
    with pytest.raises(ConfigError, match="did not arrive whole .wrong MD5 sum.; run the command again"):
        load(served.config)
    assert not served.root.exists()


def test_a_full_disk_is_not_called_a_missing_network(served):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(ConfigError, match="has no room for cifar10 .File too large"):
            load(served.config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not served.root.exists()


def test_of_two_first_downloads_at_once_the_slower_takes_the_files_of_the_other(served):
    served.meanwhile = lambda: write(served.root, "cifar10")
    assert len(load(served.config).train) == 100
    assert served.left == ["cifar-10-batches-py"]
