"""Downloading: mirrors in order, SHA-256, the cache, no network. The mirrors are local servers."""

import functools
import gzip
import hashlib
import http.server
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from deltarule import data
from deltarule.data import datasets

pytest.importorskip("pooch")

TRAIN = 6
ARRAYS = (
    np.arange(TRAIN * 784, dtype=np.uint32).astype(np.uint8).reshape(TRAIN, 28, 28),
    np.arange(TRAIN, dtype=np.uint8),
    np.zeros((3, 28, 28), dtype=np.uint8),
    np.array([9, 8, 7], dtype=np.uint8),
)


class Mirror:
    """A web server of a folder; ``asked`` lists the files requested."""

    def __init__(self, folder):
        asked = self.asked = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path.lstrip("/"))
                super().do_GET()

            def log_message(self, *arguments):
                pass

        handler = functools.partial(Handler, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def stop(self):
        if self.thread.is_alive():
            self.server.shutdown()
            self.thread.join()
            self.server.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DELTARULE_CACHE", str(tmp_path / "cache"))
    # A proxy of this machine must not be asked for 127.0.0.1.
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache"


@pytest.fixture
def mirrors(tmp_path, cache, monkeypatch):
    """mnist published by two servers: the first has nothing (404), the second has a small mnist."""
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    for name, array in zip(datasets.IDX_FILES, ARRAYS, strict=True):
        data.write_idx(folders[1] / name, array)
    sha256 = {
        name: hashlib.sha256((folders[1] / name).read_bytes()).hexdigest() for name in datasets.IDX_FILES
    }
    servers = [Mirror(folder) for folder in folders]
    published = replace(
        datasets.PUBLISHED["mnist"], mirrors=tuple(server.address for server in servers), sha256=sha256
    )
    monkeypatch.setitem(datasets.PUBLISHED, "mnist", published)
    yield servers
    for server in servers:
        server.stop()


def check_small_mnist(d):
    assert d.name == "mnist"
    assert d.image_shape == (28, 28)
    assert d.classes == tuple("0123456789")
    assert (d.train.x == ARRAYS[0].reshape(TRAIN, 784)).all()
    assert d.train.y.tolist() == [0, 1, 2, 3, 4, 5]
    assert (d.test.x == 0).all()
    assert d.test.y.tolist() == [9, 8, 7]


def test_an_unknown_progress_is_refused(one_line):
    for source in ("digits", "mnist", "no such file"):
        with one_line(ValueError, "^load: progress is 'alway'; choices: False, True, 'always'$"):
            data.load(source, progress="alway")


@pytest.mark.parametrize("progress", [False, True, "always"])
def test_a_download_is_shown_in_one_line_a_file_where_that_is_wanted(mirrors, capfd, progress):
    data.load("mnist", progress=progress)
    lines = [f"downloading {name} of mnist" for name in datasets.IDX_FILES] if progress == "always" else []
    assert capfd.readouterr().err.splitlines() == lines  # of pooch's logger there is nothing
    data.load("mnist", progress=progress)
    assert capfd.readouterr().err == ""


def test_the_command_line_without_a_network_says_one_line(mirrors, mistake):
    for server in mirrors:
        server.stop()
    mistake(
        "cannot download .*or pass data_dir .on the command line --data-dir",
        "train",
        "--data",
        "mnist",
        "--quiet",
    )


def test_second_mirror_then_offline_from_the_cache(mirrors, cache):
    check_small_mnist(data.load("mnist"))
    assert [server.asked for server in mirrors] == [list(datasets.IDX_FILES)] * 2
    assert sorted(p.name for p in (cache / "mnist").iterdir()) == sorted(datasets.IDX_FILES)
    for server in mirrors:
        server.stop()
    check_small_mnist(data.load("mnist"))


def test_cached_files_are_not_asked_for_again(mirrors):
    data.load("mnist")
    for server in mirrors:
        server.asked.clear()
    check_small_mnist(data.load("mnist"))
    assert [server.asked for server in mirrors] == [[], []]


def test_first_mirror_is_enough(mirrors, tmp_path):
    for name in datasets.IDX_FILES:
        (tmp_path / "second" / name).rename(tmp_path / "first" / name)
    check_small_mnist(data.load("mnist"))
    assert [len(server.asked) for server in mirrors] == [4, 0]


def test_mirror_with_other_bytes_is_passed_over(mirrors, tmp_path, cache):
    for name in datasets.IDX_FILES:
        (tmp_path / "first" / name).write_bytes(gzip.compress(b"something else"))
    check_small_mnist(data.load("mnist"))
    assert [len(server.asked) for server in mirrors] == [4, 4]


def test_damaged_cache_is_downloaded_again(mirrors, cache):
    data.load("mnist")
    (cache / "mnist" / datasets.IDX_FILES[1]).write_bytes(b"damaged")
    check_small_mnist(data.load("mnist"))


def test_sha256_mismatch_everywhere(mirrors, tmp_path, cache, one_line):
    name = datasets.IDX_FILES[0]
    wanted = datasets.PUBLISHED["mnist"].sha256[name]
    for folder in ("first", "second"):
        (tmp_path / folder / name).write_bytes(b"something else")
    with one_line(
        OSError,
        rf"^load: cannot download {name} of mnist \(http://127.0.0.1:\d+/: SHA-256 of the download differs; "
        rf"http://127.0.0.1:\d+/: SHA-256 of the download differs\); get http://127.0.0.1:\d+/{name} "
        rf"\(sha256 {wanted}\) elsewhere and put it into {cache / 'mnist'}, "
        r"or pass data_dir \(on the command line --data-dir\)$",
    ):
        data.load("mnist")
    assert list((cache / "mnist").iterdir()) == []


def test_offline_with_an_empty_cache(mirrors, cache, one_line):
    for server in mirrors:
        server.stop()
    with one_line(
        OSError,
        r"^load: cannot download train-images.* of mnist \(.*: no connection; .*: no connection\); get"
        rf" http://.*train-images-idx3-ubyte.gz \(sha256 \w{{64}}\) elsewhere "
        rf"and put it into {cache / 'mnist'}, or pass data_dir \(on the command line --data-dir\)$",
    ):
        data.load("mnist")


def test_file_put_into_the_cache_by_hand(mirrors, tmp_path, cache):
    cache.mkdir()
    (tmp_path / "second").rename(cache / "mnist")
    check_small_mnist(data.load("mnist"))
    assert [server.asked for server in mirrors] == [[], []]


def test_cache_that_cannot_be_written(mirrors, cache, one_line):
    cache.write_text("a file where the folder should be")
    with one_line(OSError, rf"^load: cannot write the cache {cache / 'mnist'} \(.*\); set DELTARULE_CACHE$"):
        data.load("mnist")


def test_without_pooch(cache, monkeypatch, one_line):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with one_line(
        ModuleNotFoundError, r"^load: fashion-mnist is downloaded with pooch; pip install pooch, or pass"
    ):
        data.load("fashion-mnist")
    assert data.cache_dir() == cache
    monkeypatch.delenv("DELTARULE_CACHE")
    with one_line(
        ModuleNotFoundError, r"^data: the cache folder needs pooch; pip install pooch, or set DELTARULE_"
    ):
        data.cache_dir()


def test_cache_dir(cache, monkeypatch):
    import pooch

    assert data.cache_dir() == cache
    monkeypatch.setenv("DELTARULE_CACHE", "")
    assert data.cache_dir() == pooch.os_cache("deltarule")


def test_registry():
    """Addresses and digests are whole: a typing mistake would show only on the day of a download."""
    for name, published in datasets.PUBLISHED.items():
        assert published.name == name
        assert len(published.classes) == 10
        assert tuple(published.sha256) == datasets.IDX_FILES
        assert all(len(bytes.fromhex(digest)) == 32 for digest in published.sha256.values())
        assert all(m.startswith("http") and m.endswith("/") for m in published.mirrors)
    assert [m.split("/")[2] for m in datasets.PUBLISHED["mnist"].mirrors] == [
        "ossci-datasets.s3.amazonaws.com",
        "storage.googleapis.com",
        "raw.githubusercontent.com",
    ]


def test_digests_are_those_of_the_original_files(mnist):
    for name, digest in datasets.PUBLISHED["mnist"].sha256.items():
        assert hashlib.sha256((mnist / name).read_bytes()).hexdigest() == digest
