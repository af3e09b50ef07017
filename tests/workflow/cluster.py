"""A SLURM cluster of one node on this machine, without systemd: a real controller, a real node and a pretended GPU."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# SLURM is only found there: the jobs' inner `srun` does not see SLURM_CONF.
ETC = Path("/etc/slurm")
DAEMONS = ("slurmctld", "slurmd")
FILES = {
    # The node claims what the rules ask for, so that they run on a small machine as they are. Memory is watched by
    # looking at the processes, and there is neither munge nor accounting: nothing of it needs a service.
    "slurm.conf": """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MinJobAge=3600
GresTypes=gpu
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
NodeName={host} NodeAddr=127.0.0.1 Port={node} CPUs=32 RealMemory=128000 Gres=gpu:2
PartitionName=cpu Nodes={host} Default=YES MaxTime=24:00:00 PriorityTier=10 PreemptMode=OFF
PartitionName=gpu Nodes={host} MaxTime=24:00:00 PriorityTier=10 PreemptMode=OFF
PartitionName=scavenge Nodes={host} MaxTime=24:00:00 PriorityTier=1 PreemptMode=REQUEUE GraceTime=5
""",
    "gres.conf": "NodeName={host} Name=gpu File=/dev/null,/dev/zero\n",
    "cgroup.conf": "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n",
}


def missing() -> str | None:
    """Why there can be no cluster on this machine; None if there can."""
    if absent := [name for name in DAEMONS if shutil.which(name, path=search_path()) is None]:
        return f"needs {' and '.join(absent)}: `make test-slurm` installs them"
    if os.geteuid() != 0:
        return "needs root: SLURM's daemons start jobs for others"
    if present := [name for name in FILES if (ETC / name).exists()]:
        return f"this machine belongs to a cluster: it has {ETC / present[0]}"
    return None


def search_path() -> str:
    """The path with programs; a user's path often lacks those of daemons."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 1800) -> Any:
    """The first value of ``condition()`` that is true."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(0.2)
    return value


class Cluster:
    """The daemons of a cluster and its jobs; a context, which leaves nothing behind."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __enter__(self) -> Cluster:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            second.bind(("127.0.0.1", 0))
            ports = {"controller": first.getsockname()[1], "node": second.getsockname()[1]}
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        ETC.mkdir(exist_ok=True)
        for name, text in FILES.items():
            path = self.folder / name
            path.write_text(text.format(host=socket.gethostname().split(".")[0], folder=self.folder, **ports))
            (ETC / name).symlink_to(path)
        try:
            for name in DAEMONS:
                self.start(name)
            wait_for(lambda: self.say("sinfo", "-h", "-o", "%T") == "idle", "the node", 60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._pid("slurmctld"):
            subprocess.run(["scancel", "--user", "root"], check=False)
            self._until_empty()
        for name in reversed(DAEMONS):
            self.end(name, signal.SIGTERM)
        for name in FILES:
            (ETC / name).unlink(missing_ok=True)

    def start(self, name: str) -> None:
        """Start a daemon; a controller takes up the jobs that it knew before."""
        subprocess.run([name], check=True, env={**os.environ, "PATH": search_path()})
        wait_for(lambda: self._pid(name), name, 30)

    def end(self, name: str, number: int) -> None:
        """End a daemon by a signal."""
        if pid := self._pid(name):
            os.kill(pid, number)
            wait_for(lambda: self._pid(name) is None, f"the end of {name}", 60)

    def say(self, *command: str) -> str:
        """The output of one of SLURM's commands; nothing if it fails."""
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    def done(self, *command: str) -> bool:
        """Whether one of SLURM's commands succeeds."""
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def jobs(self, fields: str = "%i|%T") -> list[list[str]]:
        """All jobs, also those that have ended, with squeue's ``fields``, the oldest first."""
        text = self.say("squeue", "--states=all", "--noheader", "--array", "--sort=i", f"--format={fields}")
        return [line.split("|") for line in text.splitlines()]

    def _until_empty(self) -> None:
        wait_for(lambda: not self.say("squeue", "--noheader"), "the end of all jobs", 60)

    def _pid(self, name: str) -> int | None:
        try:
            pid = int((self.folder / f"{name}.pid").read_text())
            command = Path(f"/proc/{pid}/comm").read_text().strip()
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return pid if command == name and state != "Z" else None
