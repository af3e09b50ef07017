"""Whatever this project starts that listens does so on this machine's own address, unless it is told otherwise."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time

import psutil
import pytest

from tests.conftest import ROOT, free_port
from tests.docs.reading import all_code

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def listening(family: list[psutil.Process]) -> set[str]:
    """The addresses on which a process of these listens."""
    found = [connection for member in family for connection in member.net_connections("inet")]
    return {connection.laddr.ip for connection in found if connection.status == psutil.CONN_LISTEN}


def family_of(process: subprocess.Popen) -> list[psutil.Process]:
    top = psutil.Process(process.pid)
    return [top, *top.children(recursive=True)]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("mlflow") or not shutil.which("make"), reason="needs make and mlflow")
def test_make_ui_listens_on_loopback(tmp_path):
    (tmp_path / "mlflow.db").touch()
    command = ["make", "-o", ".venv/.installed", "ui", f"RESULTS={tmp_path}", f"PORT={free_port()}"]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
    try:
        while not (found := listening(family_of(process))):
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.2)
        assert found <= set(LOOPBACK)
    finally:
        family = family_of(process)
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)
        assert psutil.wait_procs(family, timeout=60)[1] == []


def test_documented_servers_listen_on_loopback():
    """But for the one of a cluster, which says on which of its addresses it is there for the others."""
    lines = [line.split() for block in all_code() for line in block.text.splitlines() if " server " in f" {line} "]
    assert any(words[:2] == ["mlflow", "server"] for words in lines)
    for words in lines:
        assert "--host" not in words or words[words.index("--host") + 1] in (*LOOPBACK, '"$(hostname)"')


def test_documented_servers_answer_by_the_address_that_jobs_are_given():
    """MLflow compares what it allows with the whole of a request's Host, which has a port."""
    security = pytest.importorskip("mlflow.server.security_utils")
    found = []
    for block in all_code():
        text = block.text.replace("$(hostname)", "login1").replace("\\\n", " ").replace('"', "")
        address = re.search(r"MLFLOW_TRACKING_URI=http://(\S+)", text)
        if "mlflow server" in text and address:
            allowed = re.search(r"--allowed-hosts (\S+)", text)
            hosts = allowed[1].split(",") if allowed else security.get_default_allowed_hosts()
            assert security.is_allowed_host_header(hosts, address[1]), str(block)
            found.append(address[1])
    assert "login1:5000" in found


def test_the_site_is_served_on_loopback():
    """By `mkdocs serve`, where the configuration says nothing else."""
    assert "dev_addr" not in (ROOT / "mkdocs.yml").read_text()


def test_no_code_of_ours_opens_a_listening_socket():
    """Of the package and the workflow (a signature is bound to no address); torch.distributed: docs/security.md."""
    code = [path for pattern in ("gmcn/**/*.py", "workflow/**/*.smk", "Snakefile") for path in ROOT.glob(pattern)]
    assert len(code) > 1
    calls = (".bind((", ".listen(", "HTTPServer(", "create_server(", "0.0.0.0")
    assert [str(path) for path in code for call in calls if call in path.read_text()] == []
