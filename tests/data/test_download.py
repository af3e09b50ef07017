"""Mirrors, published addresses, checksums; what is left behind when one of them fails."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import sys
import threading

import pytest

from gmcn.data import download
from gmcn.errors import InputError

CONTENT = b"points of a chair" * 100
module = sys.modules["gmcn.data.download"]  # the package's attribute of that name is the function


def entry(content=CONTENT, **changes):
    return {"name": "chairs.npz", "url": None, "sha256": hashlib.sha256(content).hexdigest()} | changes


def run(tmp_path, *files):
    return download("chairs", settings={"kind": "clouds", "files": list(files)}, output=tmp_path / "out")


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    folder = tmp_path / "mirror" / "chairs"
    folder.mkdir(parents=True)
    (folder / "chairs.npz").write_bytes(CONTENT)
    monkeypatch.setenv("GMCN_MIRROR", str(tmp_path / "mirror"))
    return folder


@pytest.fixture
def server(monkeypatch):
    """A server on the loopback: ``answers[path]`` is a list of contents, the last of them for good."""
    answers, seen = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            left = answers.get(self.path)
            if not left:
                return self.send_error(404)
            content = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            return self.wfile.write(content)

        def log_message(self, *args):
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("GMCN_MIRROR", raising=False)
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}", answers, seen
    httpd.shutdown()
    httpd.server_close()


def test_built_in_sets_need_nothing(tmp_path):
    download("digits", settings={"kind": "digits"}, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_mirror_folder(tmp_path, mirror, monkeypatch, prefix):
    monkeypatch.setenv("GMCN_MIRROR", f"{prefix}{mirror.parent}")
    run(tmp_path, entry())
    assert (tmp_path / "out/chairs.npz").read_bytes() == CONTENT
    record = json.loads((tmp_path / "out/chairs.npz.json").read_text())
    assert record["origin"] == str(mirror / "chairs.npz")
    assert record["sha256"] == entry()["sha256"]


@pytest.mark.parametrize("content", [CONTENT[:-7], b"X" + CONTENT[1:]], ids=["truncated", "altered"])
def test_wrong_mirror_file_is_refused_and_leaves_nothing(tmp_path, mirror, content):
    (mirror / "chairs.npz").write_bytes(content)
    with pytest.raises(InputError) as caught:
        run(tmp_path, entry())
    message = str(caught.value)
    assert str(mirror / "chairs.npz") in message
    assert hashlib.sha256(content).hexdigest() in message
    assert entry()["sha256"] in message
    assert not (tmp_path / "out").exists()


def test_any_of_several_checksums(tmp_path, mirror):
    run(tmp_path, entry(sha256=["0" * 64, entry()["sha256"]]))
    assert (tmp_path / "out/chairs.npz").is_file()


def test_content_checksum_ignores_the_gzip_wrapper(tmp_path, mirror):
    md5 = hashlib.md5(CONTENT).hexdigest()
    for level in (1, 9):
        (mirror / "chairs.npz").write_bytes(gzip.compress(CONTENT, level, mtime=level))
        run(tmp_path, entry(sha256=None, content_md5=md5))
    (mirror / "chairs.npz").write_bytes(gzip.compress(CONTENT[1:]))
    (tmp_path / "out/chairs.npz").unlink()
    with pytest.raises(InputError, match=f"MD5 of the uncompressed content.*{md5}"):
        run(tmp_path, entry(sha256=None, content_md5=md5))
    (mirror / "chairs.npz").write_bytes(gzip.compress(CONTENT)[:-9])
    with pytest.raises(InputError, match="truncated or no gzip"):
        run(tmp_path, entry(sha256=None, content_md5=md5))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["chairs.npz.json"]


def test_no_place_to_take_it_from(tmp_path, monkeypatch):
    monkeypatch.delenv("GMCN_MIRROR", raising=False)
    with pytest.raises(InputError, match=r"no published address.*set GMCN_MIRROR.*chairs/chairs.npz"):
        run(tmp_path, entry())
    assert not (tmp_path / "out").exists()


def test_published_address_and_mirror_that_lacks_the_file(tmp_path, server, monkeypatch):
    url, answers, seen = server
    answers["/chairs.npz"] = [CONTENT]
    monkeypatch.setenv("GMCN_MIRROR", f"{url}/mirror")
    run(tmp_path, entry(url=f"{url}/chairs.npz"))
    assert seen == ["/mirror/chairs/chairs.npz", "/chairs.npz"]
    assert (tmp_path / "out/chairs.npz").read_bytes() == CONTENT


def test_mirror_address_comes_first(tmp_path, server, monkeypatch):
    url, answers, seen = server
    answers["/mirror/chairs/chairs.npz"] = [CONTENT]
    monkeypatch.setenv("GMCN_MIRROR", f"{url}/mirror/")
    run(tmp_path, entry(url=f"{url}/chairs.npz"))
    assert seen == ["/mirror/chairs/chairs.npz"]


def test_a_damaged_transfer_is_tried_again(tmp_path, server):
    url, answers, seen = server
    answers["/chairs.npz"] = [CONTENT[:50], CONTENT]
    run(tmp_path, entry(url=f"{url}/chairs.npz"))
    assert len(seen) == 2
    assert (tmp_path / "out/chairs.npz").read_bytes() == CONTENT


def test_a_damaged_transfer_is_refused_in_the_end(tmp_path, server, monkeypatch):
    url, answers, seen = server
    monkeypatch.setattr(module, "RETRIES", 0)
    answers["/chairs.npz"] = [CONTENT[:50]]
    with pytest.raises(InputError, match=f"{url}/chairs.npz is truncated or altered"):
        run(tmp_path, entry(url=f"{url}/chairs.npz"))
    assert len(seen) == 1
    assert not (tmp_path / "out").exists()


def test_missing_at_the_published_address(tmp_path, server):
    url, _, seen = server
    with pytest.raises(InputError, match=r"404.*set GMCN_MIRROR"):
        run(tmp_path, entry(url=f"{url}/chairs.npz"))
    assert len(seen) == 1
    assert not (tmp_path / "out").exists()


def test_unreachable_server(tmp_path, monkeypatch):
    monkeypatch.delenv("GMCN_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(module, "RETRIES", 0)
    with pytest.raises(InputError, match=r"ConnectionError.*set GMCN_MIRROR"):
        run(tmp_path, entry(url="http://127.0.0.1:9/chairs.npz"))


def test_verified_files_are_kept_and_damaged_ones_replaced(tmp_path, mirror):
    run(tmp_path, entry())
    target = tmp_path / "out/chairs.npz"
    before = target.stat().st_mtime_ns
    run(tmp_path, entry())
    assert target.stat().st_mtime_ns == before
    target.write_bytes(b"damaged")
    run(tmp_path, entry())
    assert target.read_bytes() == CONTENT


def test_without_a_published_checksum_it_says_the_found_one(tmp_path, mirror, caplog):
    run(tmp_path, entry(sha256=None))
    assert entry()["sha256"] in caplog.text
