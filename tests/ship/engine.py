"""Podman for a test or a bench."""

import os
import subprocess
from pathlib import Path


def configure(folder):
    """Images and containers of the caller's own, below a folder; and what a machine without systemd
    needs."""
    own = Path(folder) / "podman"
    own.mkdir()
    storage = f'[storage]\ndriver = "overlay"\ngraphroot = "{own}/g"\nrunroot = "{own}/r"\n'
    (own / "storage.conf").write_text(storage)
    os.environ["CONTAINERS_STORAGE_CONF"] = str(own / "storage.conf")
    if not Path("/run/systemd/system").is_dir():
        (own / "containers.conf").write_text(
            '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
            '[engine]\ncgroup_manager = "cgroupfs"\nruntime = "runc"\nevents_logger = "file"\n'
        )
        os.environ["CONTAINERS_CONF"] = str(own / "containers.conf")


def clear():
    """Takes all of them away, and the storage that is mounted."""
    for command in (["rm", "--all", "--force", "--volumes"], ["system", "reset", "--force"]):
        subprocess.run(["podman", *command], capture_output=True)
