"""`rnnstudy board`: TensorBoard with the settings that gradients through time call for."""

import subprocess
import sys
from pathlib import Path

from rich.console import Console

from rnnstudy.core.errors import RnnstudyError

SAMPLES = "scalars=100000,images=1000,histograms=100000,text=100"
"""Entries kept per tag: more than a run writes, where TensorBoard's own choice drops most images of a long run.

Its help says that 0 keeps all, but its fast data server then keeps no scalars at all.
"""


def command(directory: Path, port: int | None) -> list[str]:
    """The command that starts TensorBoard, on the loopback interface only."""
    start = [sys.executable, "-m", "tensorboard.main", "--logdir", str(directory), "--host", "localhost"]
    return [*start, "--samples_per_plugin", SAMPLES, *([] if port is None else ["--port", str(port)])]


def board(directory: Path, port: int | None, console: Console) -> int:
    """Start TensorBoard and wait for it to end.

    Args:
        directory: Holds runs at any depth.
        port: None lets TensorBoard choose.
        console: Where to tell how to stop it.

    Returns:
        TensorBoard's exit code.

    Raises:
        RnnstudyError: There is no such folder, or nothing to show in it.
    """
    if not directory.is_dir():
        raise RnnstudyError(f"There is no folder '{directory}'. Runs are made by: rnnstudy train")
    if not any(directory.rglob("events.out.tfevents.*")):
        raise RnnstudyError(f"'{directory}' holds no TensorBoard logs. Runs are made by: rnnstudy train")
    console.print("Ctrl-C stops TensorBoard.", highlight=False)
    try:
        return subprocess.run(command(directory, port), check=False).returncode
    except KeyboardInterrupt:
        return 0
