"""Whether a study survives that its workers are killed at random."""

import json
import subprocess

import figures
import product

WORKERS, TRIALS = 32, 2000


def measure(quick):
    product.build_example("luthier-study", "faults")
    workers, trials = (8, 200) if quick else (WORKERS, TRIALS)
    return [
        figure
        for storage in ("sqlite", "postgres")
        for figure in killed(storage, workers, trials)
    ]


def killed(storage, workers, trials):
    command = [product.EXAMPLES / "faults", storage, str(workers), str(trials)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    if not done.stdout:
        return []
    found = json.loads(done.stdout)
    how = (
        f"{workers} workers, {trials} trials, {found['kills']} killed by SIGKILL; "
        f"{found['again']} trials begun more than once; {found['seconds']:.1f} s"
    )
    never = {
        "lost": "trials without an end",
        "twice": "trials ended twice",
        "repeated": "configurations proposed twice",
        "failed": "failed trials",
        "errors": "workers that ended with an error",
    }
    return [
        figures.exactly(f"{storage}: {what}", found[key], "", 0, how) for key, what in never.items()
    ]
