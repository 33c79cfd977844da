"""The placement engine: Go's random stream, fragments, balance, price, moves, and who waits."""

from __future__ import annotations

import random

import numpy as np
import pytest

from customhouse.execution.placement.arrivals import arrivals
from customhouse.execution.placement.fragments import MOST_TYPICAL, Typical, Usable, typical
from customhouse.execution.placement.ours import Ours
from customhouse.execution.placement.policies import Chooser, Fgd
from customhouse.execution.placement.prices import Prices
from customhouse.execution.placement.queue import PATIENCE, Queue, stranding
from customhouse.execution.placement.room import Room
from customhouse.execution.placement.simulation import Rules, simulate
from customhouse.execution.placement.slices import layout_exists, start_of
from customhouse.execution.placement.stream import GoRandom
from customhouse.execution.placement.workload import WHOLE, Cut, Node, Pod, Shape

ONE = Shape(1000, 1024, 1, WHOLE)
HALF = Shape(1000, 1024, 1, 500)


def pods(*shapes: Shape) -> list[Pod]:
    return [Pod(f"pod-{i}", shape) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize(
    ("seed", "first", "below_1000", "below_1024", "permutation", "shuffled", "after"),
    [  # printed by a Go program: Int, Intn(1000), Intn(1024), Perm(8), Shuffle of 0..9, Intn(8152)
        (1, 5577006791947779410, 887, 455, [4, 6, 0, 1, 5, 2, 7, 3], [7, 0, 5, 4, 9, 6, 2, 3, 1, 8], 4695),
        (42, 3440579354231278675, 987, 644, [0, 7, 5, 6, 3, 1, 2, 4], [7, 1, 6, 5, 8, 9, 4, 0, 3, 2], 4962),
        (51, 3893522058333705853, 47, 960, [1, 7, 4, 3, 0, 2, 6, 5], [0, 7, 9, 6, 1, 3, 2, 5, 8, 4], 6416),
    ],
)
def test_the_stream_is_go_s(
    seed: int,
    first: int,
    below_1000: int,
    below_1024: int,
    permutation: list[int],
    shuffled: list[int],
    after: int,
) -> None:
    stream = GoRandom(seed)
    assert stream.int63() == first
    assert (stream.below(1000), stream.below(1024)) == (below_1000, below_1024)
    assert stream.permutation(8) == permutation
    items = list(range(10))
    stream.shuffle(items)
    assert items == shuffled
    assert stream.below(8152) == after


def unusable(room: Room, row: int, common: tuple[Typical, ...]) -> float:
    """F of a node as the paper defines it, one typical pod and one GPU after the other."""
    free = [int(part) for part in room.free[row, : room.gpus[row]]]
    total = 0.0
    for one in common:
        fits = (
            one.gpus > 0
            and (not one.models or room.nodes[row].model in one.models)
            and room.cpu[row] >= one.cpu_milli
            and sum(part >= one.gpu_milli for part in free) >= one.gpus
        )
        total += one.weight * sum(part for part in free if not fits or part < one.gpu_milli)
    return total


@pytest.mark.parametrize("seed", range(5))
def test_what_is_looked_up_is_what_the_definition_counts(seed: int) -> None:
    draw = random.Random(seed)
    room = Room([Node(f"n{i}", 8000, 9000, draw.choice([1, 2, 8]), draw.choice("AB")) for i in range(12)])
    for row in range(12):
        room.cpu[row] = draw.randrange(8001)
        for gpu in range(room.gpus[row]):
            room.free[row, gpu] = draw.choice([0, 60, 190, 500, 810, WHOLE])
    shapes = [
        Shape(
            draw.randrange(9000), 0, 1, draw.choice([50, 190, 470, 810, WHOLE]), draw.choice([(), ("A",), ("A", "B")])
        )
        for _ in range(8)
    ]
    shapes += [Shape(4000, 0), Shape(2000, 0, 2, WHOLE), Shape(2000, 0, 4, WHOLE, ("B",)), Shape(100, 0, 8, WHOLE)]
    common = typical(pods(*draw.choices(shapes, k=100)), 95)
    usable = Usable(room, common)
    rows = np.arange(12)
    idle = room.free.sum(1)
    assert idle - usable.now(rows) == pytest.approx([unusable(room, row, common) for row in rows.tolist()])
    for shape in shapes:
        fine = rows[room.fits(shape, rows)]
        if not len(fine):
            continue
        after = usable.after_part(fine, shape) if shape.shares else usable.after_whole(fine, shape)[:, None]
        for at, row in enumerate(fine.tolist()):
            for gpu in range(room.gpus[row]) if shape.shares else [-1]:
                if shape.shares and room.free[row, gpu] < shape.gpu_milli:
                    assert after[at, gpu] == -np.inf
                    continue
                gpus = room.gpus_for(row, shape, gpu)
                room.take(row, shape, gpus)
                expected = room.free[row].sum() - unusable(room, row, common)
                room.give_back(row, shape, gpus)
                assert after[at, gpu if shape.shares else 0] == pytest.approx(expected)


def test_a_list_in_which_every_pod_is_another_is_placed_by_the_commonest_thousand() -> None:
    different = pods(*(Shape(i, 1, 1, 1 + i % WHOLE) for i in range(1, 1500)), ONE, ONE)
    common = typical(different, 100.0)
    assert len(common) == MOST_TYPICAL
    assert (common[0].cpu_milli, common[0].gpu_milli) == (1000, WHOLE)
    assert sum(one.weight for one in common) == pytest.approx(1.0)


def test_among_equal_nodes_the_first_wins() -> None:
    room = Room([Node(name, 8000, 9000, 2, "A") for name in "cab"])
    for scorer in (Fgd(room, typical(pods(ONE))), Ours(room, typical(pods(ONE)))):
        assert Chooser(room, scorer).choose(ONE) == (0, -1)


def test_what_is_remembered_of_a_node_is_forgotten_when_the_node_changes() -> None:
    room = Room([Node("a", 8000, 9000, 1, "A"), Node("b", 8000, 9000, 1, "A")])
    chooser = Chooser(room, Fgd(room, typical(pods(ONE))))
    assert chooser.choose(ONE) == (0, -1)
    room.take(0, ONE, (0,))
    assert chooser.choose(ONE) == (1, -1)
    room.give_back(0, ONE, (0,))
    assert chooser.choose(ONE) == (0, -1)


def test_gpus_are_not_left_without_cpus_beside_them() -> None:
    # The pod fits both; on the first it would leave nearly no CPU beside two GPUs.
    nodes = [Node("lean", 10_000, 9000, 2, "A"), Node("broad", 100_000, 9000, 2, "A")]
    greedy = Shape(8000, 1024, 1, 100)
    run = simulate(nodes, pods(HALF, greedy), pods(greedy), Rules("customhouse"))
    assert run.places[0] is not None
    assert nodes[run.places[0].row].name == "broad"


def test_the_cheaper_of_equal_gpus_is_taken_and_spot_by_those_alone_that_may_be_interrupted() -> None:
    nodes = [
        Node("dear", 8000, 9000, 2, "A", 3 * 10**12),
        Node("cheap", 8000, 9000, 2, "B", 10**12),
        Node("spot", 8000, 9000, 2, "A", 10**11, spot=True),
    ]
    batch = Shape(1000, 1024, 1, WHOLE, (), interruptible=True)
    run = simulate(nodes, pods(ONE, batch), pods(ONE, batch), Rules("customhouse", dear=0.5))
    assert [place and nodes[place.row].name for place in run.places] == ["cheap", "spot"]
    for policy in ("random", "best-fit", "fgd", "customhouse"):
        taken = simulate(nodes[2:], pods(ONE), pods(ONE), Rules(policy)).places
        assert taken == [None]


def test_who_may_be_interrupted_leaves_the_rest_to_who_may_not_even_without_prices() -> None:
    nodes = [Node("a", 8000, 9000, 1, "A"), Node("spot", 8000, 9000, 1, "A", spot=True)]
    batch = Shape(1000, 1024, 1, WHOLE, (), interruptible=True)
    listed = pods(batch, ONE)
    assert [place and place.row for place in simulate(nodes, listed, listed, Rules("customhouse")).places] == [1, 0]
    published = simulate(nodes, listed, listed, Rules("fgd")).places
    assert published[1] is None, "FGD gave the only on-demand GPU to the pod that could have gone elsewhere"


def test_the_going_price_is_that_of_the_dearest_gpu_that_is_needed_by_now() -> None:
    room = Room([Node(f"n{price}", 8000, 9000, 4, "A", price) for price in (1, 2, 3)])
    rows = np.arange(3)
    for row in rows.tolist():
        room.take(row, Shape(1, 1), ())  # all are open: what it costs to open one is another matter
    prices = Prices.of(room, 0.5)
    assert prices is not None
    few = Shape(1000, 1024, 1, WHOLE)
    against = prices.against(few, rows)
    assert against[0] < against[1] < against[2]
    assert against[2] - against[1] == pytest.approx(against[1] - against[0]), "nothing is taken: all count in full"
    for gpu in range(4):
        room.take(0, few, (gpu,))
    prices.renew()
    dearer = prices.against(few, rows)
    assert dearer[2] - dearer[1] > (dearer[1] - dearer[0]) * 1.5, "the second is needed now, the third is not"
    room.take(1, Shape(1000, 1024, 4, WHOLE), (0, 1, 2, 3))
    room.take(2, Shape(1000, 1024, 4, WHOLE), (0, 1, 2, 3))
    prices.renew()
    assert abs(prices.against(few, rows)).max() < abs(against).max() / 2, "in a full cluster the price weighs little"


def test_who_needs_many_cpus_pays_for_the_gpus_that_it_blocks() -> None:
    nodes = [Node("rich", 32_000, 9000, 1, "A", 10), Node("lean", 32_000, 9000, 8, "A", 10), Node("x", 1, 1, 1, "A", 1)]
    prices = Prices.of(Room(nodes), 0.5)
    assert prices is not None
    rich, lean = prices.against(Shape(16_000, 1024, 1, WHOLE), np.array([0, 1]))
    assert lean > 3 * rich


def test_a_node_without_a_price_counts_as_the_mean_and_without_any_price_none_counts() -> None:
    unpriced = Node("u", 8000, 9000, 1, "A")
    assert Prices.of(Room([unpriced]), 0.5) is None
    prices = Prices.of(Room([Node("c", 8000, 9000, 1, "A", 1), unpriced, Node("d", 8000, 9000, 1, "A", 3)]), 0.5)
    assert prices is not None
    cheap, unknown, dear = prices.against(ONE, np.arange(3))
    assert cheap < unknown < dear


def test_one_moved_pod_makes_room_where_it_is_allowed() -> None:
    nodes = [Node("a", 8000, 9000, 1, "A"), Node("c", 8000, 9000, 1, "C")]
    either, other, last = (Shape(1, 1, 1, 300, ("A", "C")), Shape(1, 1, 1, 600, ("C",)), Shape(1, 1, 1, WHOLE, ("A",)))
    order = pods(either, other, last)
    stuck = simulate(nodes, pods(ONE), order, Rules("customhouse"))
    assert [place and place.row for place in stuck.places] == [0, 1, None]
    moved = simulate(nodes, pods(ONE), order, Rules("customhouse", moves=100.0))
    assert [place and place.row for place in moved.places] == [1, 1, 0]
    assert [(arrival, who) for arrival, who, _ in moved.moves] == [(2, 0)]
    assert simulate(nodes, pods(ONE), order, Rules("customhouse", moves=1.0)).moves == [], (
        "one of a hundred is none yet"
    )
    assert simulate(nodes, pods(ONE), order, Rules("fgd", moves=100.0)).moves == []


def test_a_pod_that_strands_most_of_a_gpu_waits_but_not_for_ever() -> None:
    wasteful, fitting = Shape(1, 1, 1, 810), Shape(1, 1, 1, 500)
    listed = pods(wasteful, fitting, fitting)
    assert stranding(listed) == pytest.approx({810: 0.19, 500: 0.0})
    queue = Queue(2, listed, 10 * WHOLE)
    queue.add(0, wasteful)
    assert not queue.waits(0), "nobody waits while the cluster is empty"
    assert queue.waits(9 * WHOLE)
    queue.add(1, fitting)
    queue.add(2, ONE)
    assert not queue.waits(9 * WHOLE)
    assert queue.next(2) == (1, fitting)
    assert queue.next(2) == (2, ONE)
    queue.add(3, fitting)
    assert queue.next(2 * PATIENCE) == (0, wasteful)
    assert queue.next(2 * PATIENCE) == (3, fitting)


def test_inflation_adds_copies_and_deflation_takes_pods_out() -> None:
    nodes = [Node(f"n{i:02}", 8000, 9000, 2, "A") for i in range(10)]
    few, many = pods(*[ONE] * 5), pods(*[ONE] * 50)
    up = arrivals(nodes, few, seed=42, demand=1.3)
    assert len(up.pods) == 26
    assert {pod.name for pod in up.pods[:5]} == {pod.name for pod in few}
    assert all("-tuned-" in pod.name for pod in up.pods[5:])
    assert sorted(node.name for node in up.nodes) == [node.name for node in nodes]
    down = arrivals(nodes, many, seed=42, demand=1.3)
    assert len(down.pods) == 26
    assert {pod.name for pod in down.pods} < {pod.name for pod in many}
    assert arrivals(nodes, few, seed=42, demand=1.3, ties="name").nodes == tuple(nodes)


def mig(profile: str, milli: int) -> Shape:
    return Shape(1, 1, 1, milli, mig=profile)


def test_a_small_part_goes_where_it_is_least_in_the_way() -> None:
    # At slice 6 a 1g is in the way of one 3g; at 0, where the driver begins, of a 4g and of a 2g too.
    nodes = [Node("a", 8000, 9000, 1, "H100", mig=Cut("H100"))]
    small, middle, large = mig("1g.10gb", 125), mig("2g.20gb", 250), mig("4g.40gb", 500)
    order = pods(small, middle, large)
    ours = simulate(nodes, order, order, Rules("customhouse"))
    assert [place and start_of(place.part) for place in ours.places] == [6, 4, 0]
    assert ours.allocated[-1] == 87.5
    driver = simulate(nodes, order, order, Rules("best-fit"))
    assert [place and start_of(place.part) for place in driver.places] == [0, 2, None]


def test_a_gpu_that_was_cut_beforehand_gives_the_parts_that_it_has() -> None:
    nodes = [Node("a", 8000, 9000, 1, "H100", mig=Cut("H100", ("1g.10gb", "3g.40gb", "3g.40gb")))]
    assert not layout_exists(nodes[0].mig or Cut(""))
    nodes = [Node("a", 8000, 9000, 1, "H100", mig=Cut("H100", ("1g.10gb", "1g.10gb", "2g.20gb", "3g.40gb")))]
    order = pods(mig("3g.40gb", 500), mig("3g.40gb", 500), mig("1g.10gb", 125), mig("4g.40gb", 500), ONE)
    places = simulate(nodes, order, order, Rules("customhouse")).places
    assert [place is not None for place in places] == [True, False, True, False, False]


def test_a_part_that_is_not_there_stops_the_run() -> None:
    room = Room([Node("a", 8000, 9000, 1, "H100", mig=Cut("H100"))])
    shape = mig("3g.40gb", 500)
    with pytest.raises(OverflowError, match="no free part"):
        room.take(0, shape, (0,), 0b00111100)
    room.take(0, shape, (0,), 0b11110000)
    assert room.free[0, 0] == 500
    with pytest.raises(OverflowError, match="no free part"):
        room.take(0, mig("1g.10gb", 125), (0,), 0b01000000)
    room.give_back(0, shape, (0,), 0b11110000)
    assert room.free[0, 0] == WHOLE
