"""`schedule simulate`: its answer, its files, and what it says of lists that are wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from customhouse.app.scheduling import write_moves
from customhouse.app.scheduling_files import MOST_NODES, read_nodes, read_pods
from customhouse.cli.program import run
from customhouse.core.errors import UsageError
from customhouse.execution.placement.simulation import Rules
from customhouse.execution.placement.simulation import simulate as simulation
from customhouse.execution.placement.workload import Node, Pod, Shape

NODES = "sn,cpu_milli,memory_mib,gpu,model\nn0,8000,9000,2,T4\nn1,8000,9000,2,G2\nn2,8000,9000,0,\n"
PODS = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n"
PODS += "a,1000,1000,1,1000,\nb,1000,1000,1,500,T4\nc,1000,1000,1,1000,H100\nd,1000,1000,0,0,\n"
PRICES = "model,usd_per_gpu_hour,spot_usd_per_gpu_hour\nT4,0.35,0.11\nG2,2,\n"


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nodes.csv").write_text(NODES)
    (tmp_path / "pods.csv").write_text(PODS)
    (tmp_path / "prices.csv").write_text(PRICES)
    return tmp_path


def simulate(*more: str) -> int:
    return run(["schedule", "simulate", "--nodes", "nodes.csv", "--pods", "pods.csv", "--demand", "1", *more])


@pytest.mark.parametrize("policy", ["random", "best-fit", "fgd", "customhouse"])
def test_the_answer_and_the_placements_say_the_same(
    lists: Path, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate("--policy", policy, "-o", "json", "--placements", "places.csv", "--prices", "prices.csv") == 0
    answer = json.loads(capsys.readouterr().out)
    with (lists / "places.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    placed = [row for row in rows if row["state"] == "placed"]
    assert list(rows[0]) == ["arrival", "pod", "node", "gpus", "state", "mig"]
    assert [row["arrival"] for row in rows] == [str(i) for i in range(answer["arrived"])]
    assert (len(placed), len(rows) - len(placed)) == (answer["placed"], answer["failed"])
    assert all(row["pod"].split("-")[0] != "c" for row in placed), "no node has an H100"
    assert answer["impossible"] == 1
    sizes = {"a": 1.0, "b": 0.5, "d": 0.0}
    held = sum(sizes[row["pod"].split("-")[0]] for row in placed)
    assert answer["unallocated_gpus"] == answer["gpus"] - held
    price = {"n0": 0.35, "n1": 2.0, "n2": 0.0}
    cost = sum(sizes[row["pod"].split("-")[0]] * price[row["node"]] for row in placed)
    assert float(answer["cost_per_hour"]) == pytest.approx(cost)
    assert answer["seconds_per_decision"] >= 0
    assert answer["moves"] == 0


def test_moves_are_written_with_where_from_and_where_to(tmp_path: Path) -> None:
    # Any pod may come, it is thought; then x3 needs the GPU on which x1 was put, and x1 goes over.
    nodes = [Node("a", 8000, 9000, 1, "A"), Node("c", 8000, 9000, 1, "C")]
    order = [
        Pod("x1", Shape(1, 1, 1, 300, ("A", "C"))),
        Pod("x2", Shape(1, 1, 1, 600, ("C",))),
        Pod("x3", Shape(1, 1, 1, 1000, ("A",))),
    ]
    run_ = simulation(nodes, [Pod("any", Shape(1, 1, 1, 1000))], order, Rules("customhouse", moves=100.0))
    write_moves(run_, str(tmp_path / "moves.csv"))
    assert (tmp_path / "moves.csv").read_text() == "arrival,pod,from,from_gpus,to,to_gpus\n2,x1,a,0,c,0\n"


def test_a_demand_below_the_smallest_pod_is_refused(lists: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (lists / "pods.csv").write_text(PODS.split("\n", 1)[0] + "\na,1,1,8,1000,\n")
    assert simulate("-q") == 2
    assert "pods.csv: none of the pods is left at a demand of 1" in capsys.readouterr().err


def test_what_has_no_price_is_named_and_costs_nothing_known(lists: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (lists / "prices.csv").write_text("model,usd_per_gpu_hour\nT4,0.35\n")
    assert simulate("-o", "json", "--prices", "prices.csv") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["cost_per_hour"], answer["unpriced"]) == (None, ["G2"])


def test_a_run_is_repeated_by_its_seed_and_another_seed_is_another_run(
    lists: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (lists / "pods.csv").write_text(PODS.split("\n", 1)[0] + "\n" + "".join(f"p{i},1,1,1,500,\n" for i in range(30)))
    written = []
    for seed in ("7", "7", "8"):
        assert simulate("--seed", seed, "--placements", "places.csv", "-q") == 0
        written.append((lists / "places.csv").read_text())
    assert written[0] == written[1] != written[2]
    assert "gpu allocation percent" in capsys.readouterr().out


def test_spot_nodes_are_told_by_their_names_or_by_a_column(lists: Path) -> None:
    (lists / "nodes.csv").write_text("name,cpu_milli,memory_mib,gpu,model,capacity\na,1,1,1,T4,spot\nb,1,1,1,T4,\n")
    assert [node.spot for node in read_nodes("nodes.csv")] == [True, False]
    assert [node.spot for node in read_nodes("nodes.csv", None, 100)] == [True, True]


MIG_NODES = "sn,cpu_milli,memory_mib,gpu,model,mig\n"
MIG_PODS = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,mig\n"


def test_parts_of_gpus_are_read_placed_and_written(lists: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (lists / "nodes.csv").write_text(
        MIG_NODES + "a,9000,9000,1,NVIDIA-H100-80GB-HBM3,dynamic\nb,9000,9000,1,H100,3g.40gb|4*1g.10gb\nc,9,9,1,T4,\n"
    )
    (lists / "pods.csv").write_text(
        MIG_PODS + "x,1,1,1,0,4g.40gb\ny,1,1,1,0,nvidia.com/mig-1g.10gb\nz,1,1,1,0,1g.6gb\nw,1,1,1,500,\n"
    )
    assert simulate("--placements", "places.csv", "-o", "json") == 0
    with (lists / "places.csv").open() as stream:
        rows = {row["pod"]: row for row in csv.DictReader(stream)}
    assert (rows["x"]["node"], rows["x"]["mig"]) == ("a", "4g.40gb@0")
    assert rows["y"]["mig"].startswith("1g.10gb@")
    assert rows["w"]["node"] == "c"
    assert rows["z"]["state"] == "failed"
    assert json.loads(capsys.readouterr().out)["impossible"] == 1, "no card here has a 1g.6gb: that is an A30's"


@pytest.mark.parametrize(
    ("name", "text", "where", "what"),
    [
        ("nodes.csv", "", "nodes.csv:1", "the columns cpu_milli, memory_mib, gpu, model are missing"),
        ("nodes.csv", "sn,cpu_milli,memory_mib,gpu\n", "nodes.csv:1", "the columns model are missing"),
        ("nodes.csv", "sn,cpu_milli,memory_mib,gpu,model\n", "nodes.csv", "no node is listed"),
        ("nodes.csv", NODES + "n0,1,1,1,T4\n", "nodes.csv:5", "a node 'n0' stands above already"),
        ("nodes.csv", NODES + ",1,1,1,T4\n", "nodes.csv:5", "name is empty"),
        ("nodes.csv", NODES + "n3,-1,1,1,T4\n", "nodes.csv:5", "cpu_milli is '-1'"),
        ("nodes.csv", NODES + "n3,1.5,1,1,T4\n", "nodes.csv:5", "cpu_milli is '1.5'"),
        ("nodes.csv", NODES + "n3,²,1,1,T4\n", "nodes.csv:5", "cpu_milli is '²'"),
        ("nodes.csv", NODES + "n3,1,1,65,T4\n", "nodes.csv:5", "gpu is 65"),
        ("nodes.csv", NODES + "n3,99999999999,1,1,T4\n", "nodes.csv:5", "cpu_milli is 99999999999"),
        ("nodes.csv", NODES + "n3,1,1,1,\n", "nodes.csv:5", "gpu is 1 and model is ''"),
        ("nodes.csv", NODES + "n3,1,1,1\n", "nodes.csv:5", "4 cells under 5 columns"),
        ("nodes.csv", "sn,cpu_milli,memory_mib,gpu,model\nn0,1,1,0,\n", "nodes.csv", "no node has a GPU"),
        ("nodes.csv", NODES + "\ud800", "nodes.csv:5", "not UTF-8 text"),
        ("nodes.csv", NODES + '"n3,1,1,1,T4\n', "nodes.csv:5", "no CSV"),
        ("pods.csv", PODS + "e,1,1,2,500,\n", "pods.csv:6", "2 GPUs of which 500 thousandths each"),
        ("pods.csv", PODS + "e,1,1,1,0,\n", "pods.csv:6", "num_gpu is 1 and gpu_milli is 0"),
        ("pods.csv", PODS + "e,1,1,1,1001,\n", "pods.csv:6", "gpu_milli is 1001"),
        ("pods.csv", PODS + "a,1,1,1,1,\n", "pods.csv:6", "a pod 'a' stands above already"),
        ("pods.csv", PODS.split("\n", 1)[0], "pods.csv", "no pod is listed"),
        (
            "nodes.csv",
            MIG_NODES + "a,1,1,1,T4,dynamic\n",
            "nodes.csv:2",
            "mig is 'dynamic', and T4 is not known to be cut",
        ),
        ("nodes.csv", MIG_NODES + "a,1,1,0,,dynamic\n", "nodes.csv:2", "mig is 'dynamic', and no GPU is not known"),
        ("nodes.csv", MIG_NODES + "a,1,1,1,H100,8*1g.10gb\n", "nodes.csv:2", "mig has '8*1g.10gb'"),
        ("nodes.csv", MIG_NODES + f"a,1,1,1,H100,007{'9' * 15}*1g.10gb\n", "nodes.csv:2", "mig has '007999"),
        ("nodes.csv", MIG_NODES + "a,1,1,1,H100,²*1g.10gb\n", "nodes.csv:2", "mig has '²*1g.10gb'"),
        ("nodes.csv", MIG_NODES + "a,1,1,1,H100,1g.6gb\n", "nodes.csv:2", "H100 has no MIG profile '1g.6gb'"),
        ("nodes.csv", MIG_NODES + "a,1,1,1,H100,2*4g.40gb\n", "nodes.csv:2", "no H100 can be cut into 2*4g.40gb"),
        (
            "nodes.csv",
            MIG_NODES + f"a,1,1,1,H100,{'7*1g.10gb|' * 9}1g.10gb\n",
            "nodes.csv:2",
            "no H100 can be cut into",
        ),
        ("pods.csv", MIG_PODS + "e,1,1,1,500,2g.20gb\n", "pods.csv:2", "mig is '2g.20gb', num_gpu 1 and gpu_milli 500"),
        ("nodes.csv", MIG_NODES + "a,1,1,1,H100,1g.10gb+me\n", "nodes.csv:2", "profile '1g.10gb+me' is not simulated"),
        ("pods.csv", MIG_PODS + "e,1,1,1,0,1g.10gb.me\n", "pods.csv:2", "profile '1g.10gb.me' is not simulated"),
        ("pods.csv", MIG_PODS + "e,1,1,1,0,9g.9gb\n", "pods.csv:2", "no card has a MIG profile '9g.9gb'"),
        ("prices.csv", PRICES + "T4,1,\n", "prices.csv:4", "the model 'T4' stands above already"),
        ("prices.csv", PRICES + "A10,0,\n", "prices.csv:4", "usd_per_gpu_hour is 0"),
        ("prices.csv", PRICES + "A10,nan,\n", "prices.csv:4", "'nan' is not an amount"),
    ],
)
def test_an_error_names_file_and_line(
    lists: Path, name: str, text: str, where: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (lists / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    assert simulate("--prices", "prices.csv", "-q") == 2
    said = capsys.readouterr().err
    assert f"{where}: " in said
    assert what in said
    assert "fix:" in said


def test_a_file_that_is_not_there_and_a_list_without_end_are_refused(lists: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_pods("nothing.csv", spot=False)
    header, row = NODES.split("\n")[:2]
    many = "\n".join(row.replace("n0", f"n{i}") for i in range(MOST_NODES + 1))
    (lists / "nodes.csv").write_text(f"{header}\n{many}\n")
    with pytest.raises(UsageError, match="more than 50,000 rows"):
        read_nodes("nodes.csv")


def test_a_demand_that_asks_for_millions_of_copies_is_refused(
    lists: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("customhouse.execution.placement.arrivals.MOST_ARRIVALS", 1000)
    (lists / "pods.csv").write_text(PODS.split("\n", 1)[0] + "\na,1,1,1,1,\n")
    assert simulate("-q") == 2
    assert "more than 1,000 pods would have to arrive" in capsys.readouterr().err
