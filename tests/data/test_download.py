"""Downloading, from a server on this machine: whole and verified, or not at all."""

import dataclasses
import errno
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest

from deepbelief.data import download
from deepbelief.data.download import DownloadError, fetch
from deepbelief.data.registry import SETS, FileSpec
from deepbelief.data.sets import load_set
from deepbelief.errors import DataNotFoundError, StorageError

CONTENT = np.random.default_rng(0).integers(0, 256, 200_000, dtype=np.uint8).tobytes()
SHA = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT whole at /whole, half of it at /broken, something else at /wrong, and nothing elsewhere."""

    def do_GET(self):
        self.server.requests.append(self.path)
        path = self.path.removeprefix("/")
        if path == "flaky":  # breaks the first time only
            path = "broken" if self.server.requests.count("/flaky") == 1 else "whole"
        if path not in ("whole", "broken", "wrong"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        body = CONTENT[: len(CONTENT) // 2] if path == "broken" else CONTENT
        self.wfile.write(body[::-1] if path == "wrong" else body)

    def log_message(self, *args):
        """Keep the tests' output clean."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.requests = []
        httpd.url = f"http://127.0.0.1:{httpd.server_address[1]}"
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield httpd
        httpd.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.delenv("DEEPBELIEF_DATA", raising=False)
    monkeypatch.setattr(download, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def register(monkeypatch, *urls, sha256=SHA):
    spec = dataclasses.replace(
        SETS["binarized-mnist"],
        name="served",
        image_shape=(2,),
        parts={"train": ((FileSpec("served.bin", (sha256,), urls),),)},
        read=lambda part, paths: (np.frombuffer(paths[0].read_bytes(), np.uint8).reshape(-1, 2), None),
    )
    monkeypatch.setitem(SETS, "served", spec)


def files(folder: Path):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_set_is_downloaded_once_and_then_found(server, monkeypatch, cache, capfd):
    register(monkeypatch, f"{server.url}/whole")
    assert load_set("served").x.numpy().tobytes() == CONTENT
    assert "100%" in capfd.readouterr().err  # the progress bar
    assert files(cache) == ["served.bin"]
    load_set("served")
    assert server.requests == ["/whole"]


def test_progress_can_be_silent(server, monkeypatch, capfd):
    register(monkeypatch, f"{server.url}/whole")
    load_set("served", progress=False)
    assert capfd.readouterr().err == ""


def test_a_data_dir_that_is_named_receives_the_download(server, monkeypatch, tmp_path, cache):
    register(monkeypatch, f"{server.url}/whole")
    load_set("served", data_dir=tmp_path / "mine", progress=False)
    assert files(tmp_path / "mine" / "served") == ["served.bin"]
    assert not cache.exists()


def test_the_environments_folder_receives_the_download(server, monkeypatch, tmp_path, cache):
    register(monkeypatch, f"{server.url}/whole")
    (tmp_path / "env").mkdir()
    monkeypatch.setenv("DEEPBELIEF_DATA", str(tmp_path / "env"))
    load_set("served", progress=False)
    assert files(tmp_path / "env" / "served") == ["served.bin"]


def test_an_interrupted_download_leaves_nothing_and_is_retried_next_time(server, monkeypatch, cache):
    register(monkeypatch, f"{server.url}/flaky")
    with pytest.raises(DataNotFoundError, match=r"Put served\.bin into"):
        load_set("served", progress=False)
    assert files(cache) == []
    assert load_set("served", progress=False).x.numpy().tobytes() == CONTENT


@pytest.mark.parametrize("failing", ["broken", "wrong", "absent"])
def test_the_next_mirror_is_tried(server, monkeypatch, failing):
    register(monkeypatch, f"{server.url}/{failing}", f"{server.url}/whole")
    assert len(load_set("served", progress=False)) == len(CONTENT) // 2
    assert server.requests == [f"/{failing}", "/whole"]


@pytest.mark.parametrize(
    ("page", "reason"),
    [("broken", "could not be fetched"), ("wrong", "wrong checksum"), ("absent", "404")],
)
def test_a_failed_download_says_why_and_leaves_nothing(server, monkeypatch, cache, page, reason):
    register(monkeypatch, f"{server.url}/{page}")
    with pytest.raises(DataNotFoundError, match=reason):
        load_set("served", progress=False)
    assert files(cache) == []


def test_offline_and_absent_says_which_file_to_put_where(server, monkeypatch, cache):
    url = f"{server.url}/whole"
    server.server_close()  # nothing listens any more
    register(monkeypatch, url)
    with pytest.raises(DataNotFoundError) as caught:
        load_set("served", progress=False)
    message = str(caught.value)
    assert "no connection" in message
    assert f"Put served.bin into {cache / 'served'}, or set DEEPBELIEF_DATA" in message


def test_ctrl_c_leaves_nothing(server, monkeypatch, tmp_path):
    def interrupted(self, url, file, *rest):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(f"{server.url}/whole", tmp_path / "new" / "x.bin", (SHA,))
    assert files(tmp_path) == []


def test_a_full_disk_gets_a_sentence_and_leaves_nothing(server, monkeypatch, tmp_path):
    def full(self, url, file, *rest):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", full)
    with pytest.raises(StorageError, match=r"could not be written: No space left on device\. Free some space"):
        fetch(f"{server.url}/whole", tmp_path / "x.bin", (SHA,))
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_made_gets_a_sentence(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not be written"):
        fetch(f"{server.url}/whole", tmp_path / "file" / "x.bin", (SHA,))


def test_an_old_file_survives_a_failed_replacement(server, tmp_path):
    (tmp_path / "x.bin").write_bytes(b"old")
    with pytest.raises(DownloadError):
        fetch(f"{server.url}/wrong", tmp_path / "x.bin", (SHA,), progress=False)
    assert (tmp_path / "x.bin").read_bytes() == b"old"
