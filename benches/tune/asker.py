"""The product's samplers and pruners, asked through `crates/luthier-tune/examples/ask.rs`."""

import json
import subprocess
from pathlib import Path

import product


def build():
    product.build_example("luthier-tune", "ask")


class Asker:
    """One study, whose trials are evaluated here. To be used in a `with`."""

    def __init__(self, space, sampler, seed, pruner="none", trials=()):
        """`trials` are those that are there already, in the JSON form of a trial."""
        self.program = subprocess.Popen(
            [product.EXAMPLES / "ask"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        setup = {"space": space, "sampler": sampler, "pruner": pruner, "seed": seed}
        self.say(setup | {"trials": list(trials)})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # What it proposes after the last answer is of no use, but has to be read for it to end.
        self.program.communicate()

    def ask(self):
        """Number and values of the next trial, or of a paused one; `None` if there is no more."""
        line = self.program.stdout.readline()
        return tuple(json.loads(line).values()) if line else None

    def report(self, step, loss):
        """What becomes of the trial after a step: `continue`, `pause` or `prune`."""
        self.say({"step": step, "loss": loss})
        return self.program.stdout.readline().strip()

    def tell(self, loss):
        self.say({"loss": loss})

    def say(self, message):
        print(json.dumps(message), file=self.program.stdin, flush=True)

    def cpu_seconds(self):
        """Time on a processor so far; the program has one thread."""
        nanoseconds = Path(f"/proc/{self.program.pid}/schedstat").read_text().split()[0]
        return int(nanoseconds) * 1e-9
