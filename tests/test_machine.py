"""How many threads compute: pinned processes, containers, several processes; and that a user's word is the last."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import zoo.machine
from zoo.machine import cores, limit_threads, threads


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Eight cores, no limit, nothing said; the folder of the container's limits."""
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "")  # for monkeypatch to put back what `limit_threads` changes
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(zoo.machine, "CGROUP", tmp_path)
    return tmp_path


def test_a_whole_machine_is_left_to_the_libraries_which_do_not_spin():
    limit_threads()
    assert (cores(), threads(), os.environ.get("OMP_NUM_THREADS")) == (8, 0, None)
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "350000 100000"}, 3),
        ({"cpu.max": "20000 100000"}, 1),
        ({"cpu.max": "1600000 100000"}, 8),
        ({"cpu.max": "nonsense"}, 8),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
    ],
)
def test_the_limit_of_a_container_counts(files: dict[str, str], expected: int, machine: Path):
    for name, text in files.items():
        (machine / name).parent.mkdir(exist_ok=True)
        (machine / name).write_text(f"{text}\n")
    assert cores() == expected
    limit_threads()
    assert os.environ.get("OMP_NUM_THREADS") == (None if expected == 8 else str(expected))


def test_a_pinned_process_and_several_processes_share(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3, 5}, raising=False)
    assert (cores(), threads()) == (3, 3)
    for share, expected in (("2", 1), ("9", 1), ("0", 3), ("x", 3)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", share)
        assert cores() == expected


def test_what_a_user_has_set_stays(monkeypatch: pytest.MonkeyPatch, machine: Path):
    (machine / "cpu.max").write_text("200000 100000")
    monkeypatch.setenv("OMP_NUM_THREADS", "5,2")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    limit_threads()
    assert (threads(), os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"]) == (5, "5,2", "ACTIVE")


def test_a_session_has_these_threads_and_does_not_spin(monkeypatch: pytest.MonkeyPatch, toy: Path):
    import onnxruntime

    seen = []
    session = onnxruntime.InferenceSession

    def watched(graph: bytes, options: onnxruntime.SessionOptions, **more: object) -> onnxruntime.InferenceSession:
        spins = options.get_session_config_entry("session.intra_op.allow_spinning")
        seen.append((options.intra_op_num_threads, spins))
        return session(graph, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", watched)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    zoo.load(f"local-dir:{toy}")
    assert seen == [(2, "0")]
