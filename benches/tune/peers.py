"""What peers have reached, kept by version, problem and seed, since some take minutes a search."""

import json
from pathlib import Path

from product import say

FOLDER = Path(__file__).resolve().parent / "peers"


def kept(name, version):
    """The searches of a peer by problem and seed."""
    path = FOLDER / f"{name}.json"
    if path.exists():
        found = json.loads(path.read_text())
        if found["computed with"] == version:
            return found["curves"]
    return {}


def keep(name, version, problems, seeds, search):
    """Computes what is missing of a peer, all problems of a seed before the next seed. `search` gives
    the curve for a problem and a seed, and the seconds that the peer thought."""
    for seed in range(seeds):
        for problem in problems:
            curves = kept(name, version)
            searches = curves.setdefault(problem, {})
            if str(seed) in searches:
                continue
            curve, thought = search(problem, seed)
            searches[str(seed)] = {"curve": curve, "seconds": round(thought, 2)}
            FOLDER.mkdir(exist_ok=True)
            whole = FOLDER / f"{name}.part"
            whole.write_text(compact(version, curves))
            whole.rename(FOLDER / f"{name}.json")
            say(f"{name} {problem} seed {seed}: {thought:.1f} s")


def complete(curves, problems):
    """The curves by problem, of those seeds that all problems have; `None` if there are none."""
    if any(problem not in curves for problem in problems):
        return None
    seeds = set.intersection(*(set(curves[problem]) for problem in problems))
    chosen = sorted(seeds, key=int)
    found = {p: [curves[p][seed]["curve"] for seed in chosen] for p in problems}
    return found if seeds else None


def compact(version, curves):
    """One line for each curve, so that a change is a line."""
    lines = []
    for problem, searches in sorted(curves.items()):
        entries = [f"{json.dumps(seed)}: {json.dumps(one)}" for seed, one in searches.items()]
        lines.append(f"{json.dumps(problem)}: {{\n" + ",\n".join(entries) + "}")
    version = json.dumps(version)
    return f'{{"computed with": {version}, "curves": {{\n' + ",\n".join(lines) + "}}\n"
