"""The benchmark's programs in Go: load, and hammer with its own client."""

import json
import subprocess
import sys
from pathlib import Path

from mixed_cluster import ROOT


def test_the_go_peer_is_measured(tmp_path: Path) -> None:
    arguments = ["--only", "unary", "--only", "hammer", "--peers", "go", "--rounds", "1", "--seconds", "0.5"]
    result = subprocess.run(
        [sys.executable, "-m", "bench", *arguments, "--output", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert not found["notes"]
    rows = {(row["workload"], row["case"]): row for row in found["results"]}
    assert rows["hammer", "1999 words"]["seconds"][0] > 0
    for case in ("C=1", "C=10", "C=64", "C=256"):
        row = rows["unary", case]
        assert row["ops_per_second"][0] > 0
        assert 0 < row["p50_ms"][0] <= row["p99_ms"][0]
        assert row["leader_cpu_us"][0] > 0
    assert (tmp_path / "latency.png").exists()
    assert len(json.loads((tmp_path / "curves.json").read_text())[0]["values"]) == 201
