"""Mirrors, published addresses, checksums; what is left behind when one of them fails."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from gmcn.data import download, transfer
from gmcn.errors import InputError

CONTENT = b"points of a chair" * 100


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


@dataclass
class Answer:
    """One answer of the server: content, of which it may send only a part."""

    content: bytes = CONTENT
    sent: int | None = None  # bytes after which it hangs up
    length: int | None = None  # the Content-Length it claims
    status: int = 200
    ranges: bool = True
    pause: float = 0.0  # seconds before the last half
    headers: dict = field(default_factory=dict)


@pytest.fixture
def server(monkeypatch):
    """A server on the loopback: ``answers[path]`` is a list of contents or answers, the last of them for good."""
    answers, seen = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            wish = self.headers.get("Range")
            left = answers.get(self.path)
            if not left:
                return self.send_error(404)
            answer = left.pop(0) if len(left) > 1 else left[0]
            answer = answer if isinstance(answer, Answer) else Answer(answer)
            content, status, extra = answer.content, answer.status, dict(answer.headers)
            same = self.headers.get("If-Range") in (None, extra.get("ETag"))
            if wish and answer.ranges and same and status == 200:
                seen[-1] += f" {wish}"
                start = int(wish.removeprefix("bytes=").removesuffix("-"))
                extra["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                content, status = content[start:], 206
                if not content:
                    status, extra["Content-Range"] = 416, f"bytes */{start}"
            self.send_response(status)
            for key, value in extra.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(answer.length or len(content)))
            self.end_headers()
            sent = content[: answer.sent]
            self.wfile.write(sent[: len(sent) // 2])
            time.sleep(answer.pause)
            return self.wfile.write(sent[len(sent) // 2 :])

        def log_message(self, *args):
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("GMCN_MIRROR", raising=False)
    monkeypatch.setattr(transfer, "PAUSE", 0.001)
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


def test_the_md5_of_a_file(tmp_path, mirror):
    md5 = hashlib.md5(CONTENT).hexdigest()
    run(tmp_path, entry(sha256=None, md5=md5))
    assert (tmp_path / "out/chairs.npz").is_file()
    (mirror / "chairs.npz").write_bytes(CONTENT[1:])
    (tmp_path / "out/chairs.npz").unlink()
    with pytest.raises(InputError, match=f"is truncated or altered: its MD5 is .*, expected {md5}"):
        run(tmp_path, entry(sha256=None, md5=md5))


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


@pytest.mark.parametrize("way", ["mirror", "published"])
def test_a_password_or_token_of_an_address_is_used_and_never_shown(tmp_path, server, monkeypatch, caplog, way):
    url, answers, seen = server
    secret = url.replace("://", "://anna:s3cret@")
    place = "/get/chairs/chairs.npz?token=t0ken" if way == "mirror" else "/get?token=t0ken"
    address = f"{secret}/get?token=t0ken"
    if way == "mirror":
        monkeypatch.setenv("GMCN_MIRROR", address)
    file = entry(url=None if way == "mirror" else address, sha256=None)
    answers[place] = [Answer(status=503), CONTENT]
    caplog.set_level("INFO", "gmcn")
    run(tmp_path, file)
    assert seen == [place, place]
    record = (tmp_path / "out/chairs.npz.json").read_text()
    shown = f"{url}{place.partition('?')[0]}?..."
    assert json.loads(record)["origin"] == shown
    assert caplog.text.count(shown) == 3  # tried again, without a checksum, where it came from
    answers[place] = [Answer(status=404)]
    (tmp_path / "out/chairs.npz").unlink()
    with pytest.raises(InputError, match="404") as error:
        run(tmp_path, file)
    assert shown in str(error.value)
    assert not [text for text in (record, caplog.text, str(error.value)) if "s3cret" in text or "t0ken" in text]


def test_a_damaged_transfer_is_tried_again(tmp_path, server):
    url, answers, seen = server
    answers["/chairs.npz"] = [CONTENT[:50], CONTENT]
    run(tmp_path, entry(url=f"{url}/chairs.npz"))
    assert len(seen) == 2
    assert (tmp_path / "out/chairs.npz").read_bytes() == CONTENT


def test_a_damaged_transfer_is_refused_in_the_end(tmp_path, server, monkeypatch):
    url, answers, seen = server
    monkeypatch.setattr(transfer, "RETRIES", 0)
    answers["/chairs.npz"] = [CONTENT[:50]]
    with pytest.raises(InputError, match=f"{url}/chairs.npz is truncated or altered"):
        run(tmp_path, entry(url=f"{url}/chairs.npz"))
    assert len(seen) == 1
    assert not (tmp_path / "out").exists()


PATH = "/chairs.npz"
TAG = {"ETag": '"1"'}


def part(tmp_path):
    return tmp_path / "out/.chairs.npz.part"


def test_a_broken_transfer_is_continued(tmp_path, server):
    url, answers, seen = server
    answers[PATH] = [Answer(sent=1000), Answer(status=503), Answer(sent=300), CONTENT]
    run(tmp_path, entry(url=url + PATH))
    assert seen == [PATH, PATH, f"{PATH} bytes=1000-", f"{PATH} bytes=1300-"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["chairs.npz", "chairs.npz.json"]


def test_the_next_call_continues_too(tmp_path, server, monkeypatch):
    url, answers, seen = server
    monkeypatch.setattr(transfer, "RETRIES", 0)
    answers[PATH] = [Answer(sent=1000), CONTENT]
    with pytest.raises(InputError, match=r"IncompleteRead.*after 1 tries.*set GMCN_MIRROR"):
        run(tmp_path, entry(url=url + PATH))
    assert part(tmp_path).read_bytes() == CONTENT[:1000]
    run(tmp_path, entry(url=url + PATH))
    assert seen[1] == f"{PATH} bytes=1000-"
    assert (tmp_path / "out/chairs.npz").read_bytes() == CONTENT


def test_two_at_once_download_a_file_once(tmp_path, server, caplog):
    url, answers, seen = server
    answers[PATH] = [Answer(pause=0.3)]
    caplog.set_level("INFO", "gmcn")
    target, checked = tmp_path / "out/chairs.npz", []
    with ThreadPoolExecutor(2) as pool:
        ways = [pool.submit(transfer.retrieve, url + PATH, target, checked.append, resume=True) for _ in range(2)]
    assert [way.result() for way in ways] == [None, None]
    assert (seen, checked) == ([PATH], [part(tmp_path), target])
    assert caplog.text.count("another process downloads it; waiting") == 1
    assert (target.read_bytes(), list(target.parent.iterdir())) == (CONTENT, [target])


def test_a_server_without_ranges_sends_all_again(tmp_path, server):
    url, answers, seen = server
    answers[PATH] = [Answer(sent=1000), Answer(ranges=False)]
    run(tmp_path, entry(url=url + PATH))
    assert seen == [PATH, PATH]
    assert (tmp_path / "out/chairs.npz").read_bytes() == CONTENT


@pytest.mark.parametrize(("there", "tries"), [(CONTENT, 1), (CONTENT + b"more", 2), (b"X" * 100, 2)])
def test_a_part_that_is_whole_or_wrong(tmp_path, server, there, tries):
    url, answers, seen = server
    answers[PATH] = [CONTENT]
    part(tmp_path).parent.mkdir()
    part(tmp_path).write_bytes(there)
    run(tmp_path, entry(url=url + PATH))
    assert len(seen) == tries
    assert (tmp_path / "out/chairs.npz").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("first", "second", "continued"), [(TAG, TAG, True), (TAG, {"ETag": '"2"'}, False), ({}, {}, False)]
)
def test_without_a_checksum_only_the_same_version_is_continued(tmp_path, server, first, second, continued):
    url, answers, seen = server
    part(tmp_path).parent.mkdir()
    part(tmp_path).write_bytes(b"from another day")
    answers[PATH] = [Answer(sent=1000, headers=first), Answer(headers=second)]
    run(tmp_path, entry(url=url + PATH, sha256=None))
    assert seen == [PATH, f"{PATH} bytes=1000-" if continued else PATH]
    assert (tmp_path / "out/chairs.npz").read_bytes() == CONTENT


def test_a_wrong_length(tmp_path, server, monkeypatch):
    url, answers, seen = server
    answers[PATH] = [Answer(length=len(CONTENT) - 9), Answer(length=len(CONTENT) + 9)]
    monkeypatch.setattr(transfer, "RETRIES", 1)
    with pytest.raises(InputError, match="after 2 tries"):
        run(tmp_path, entry(url=url + PATH))
    # The first was whole for what it said, and altered; of the second the rest is waited for.
    assert part(tmp_path).read_bytes() == CONTENT
    assert seen == [PATH, PATH]


def test_a_redirect_is_followed(tmp_path, server):
    url, answers, seen = server
    answers["/old"] = [Answer(status=302, headers={"Location": url + PATH})]
    answers[PATH] = [CONTENT]
    run(tmp_path, entry(url=f"{url}/old"))
    assert seen == ["/old", PATH]
    assert (tmp_path / "out/chairs.npz").read_bytes() == CONTENT


def test_a_server_that_stays_out_of_order(tmp_path, server):
    url, answers, seen = server
    answers[PATH] = [Answer(b"", status=500)]
    with pytest.raises(InputError, match=rf"500 Internal Server Error, after {transfer.RETRIES + 1} tries"):
        run(tmp_path, entry(url=url + PATH))
    assert len(seen) == transfer.RETRIES + 1
    assert not (tmp_path / "out").exists()


def test_a_gzip_that_is_called_an_encoding_stays_as_it_is(tmp_path, server):
    url, answers, _ = server
    packed = gzip.compress(CONTENT)
    answers[PATH] = [Answer(packed, headers={"Content-Encoding": "gzip"})]
    run(tmp_path, entry(packed, url=url + PATH))
    assert (tmp_path / "out/chairs.npz").read_bytes() == packed


def test_a_file_in_another_folder_of_the_mirror(tmp_path, mirror):
    mirror.rename(mirror.parent / "furniture")
    run(tmp_path, entry(folder="furniture"))
    assert (tmp_path / "out/chairs.npz").read_bytes() == CONTENT
    with pytest.raises(InputError, match=r"set GMCN_MIRROR to a folder or URL that has garden/chairs\.npz"):
        download("chairs", settings={"files": [entry(folder="garden")]}, output=tmp_path / "other")


def test_missing_at_the_published_address(tmp_path, server):
    url, _, seen = server
    with pytest.raises(InputError, match=r"404.*set GMCN_MIRROR"):
        run(tmp_path, entry(url=f"{url}/chairs.npz"))
    assert len(seen) == 1
    assert not (tmp_path / "out").exists()


def test_unreachable_server(tmp_path, monkeypatch):
    monkeypatch.delenv("GMCN_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(transfer, "RETRIES", 0)
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
