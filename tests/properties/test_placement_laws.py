"""What holds for every placement, whatever the nodes, the pods and the policy."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse.execution.placement.arrivals import arrivals
from customhouse.execution.placement.simulation import POLICIES, Rules, Run, simulate
from customhouse.execution.placement.workload import WHOLE, Node, Pod, Shape

MODELS = ("A", "B", "C")
nodes_of = st.lists(
    st.builds(
        lambda cpu, memory, gpus, model, spot, price: Node("", cpu, memory, gpus, model if gpus else "", price, spot),
        st.integers(0, 20_000),
        st.integers(0, 20_000),
        st.integers(0, 4),
        st.sampled_from(MODELS),
        st.booleans(),
        st.one_of(st.none(), st.integers(1, 10**13)),
    ),
    min_size=1,
    max_size=6,
).map(lambda made: [Node(f"n{i}", *_rest(node)) for i, node in enumerate(made)])
shapes = st.one_of(
    st.builds(Shape, st.integers(0, 9000), st.integers(0, 9000)),
    st.builds(
        Shape,
        st.integers(0, 9000),
        st.integers(0, 9000),
        st.just(1),
        st.integers(1, WHOLE),
        st.lists(st.sampled_from(MODELS), max_size=2).map(tuple),
        st.booleans(),
    ),
    st.builds(Shape, st.integers(0, 9000), st.integers(0, 9000), st.integers(1, 5), st.just(WHOLE)),
)
pods_of = st.lists(shapes, min_size=1, max_size=30).map(
    lambda made: [Pod(f"p{i:02}", shape) for i, shape in enumerate(made)]
)
rules_of = st.builds(
    Rules,
    st.sampled_from(POLICIES),
    st.integers(0, 99),
    st.sampled_from([0.0, 1.0, 100.0]),
    st.sampled_from([0, 3]),
    st.sampled_from([0.0, 0.5]),
)


def _rest(node: Node) -> tuple[int, int, int, str, int | None, bool]:
    return node.cpu_milli, node.memory_mib, node.gpus, node.model, node.price, node.spot


def held(run: Run) -> None:
    """Nothing is given out twice, at any time: nobody leaves, so the end says it for every moment before."""
    cpu: dict[int, int] = defaultdict(int)
    memory: dict[int, int] = defaultdict(int)
    gpus: dict[tuple[int, int], int] = defaultdict(int)
    for pod, place in zip(run.pods, run.places, strict=True):
        if place is None:
            continue
        node, shape = run.nodes[place.row], pod.shape
        assert not node.spot or shape.interruptible
        assert not shape.gpus or not shape.models or node.model in shape.models
        assert len(set(place.gpus)) == shape.gpus
        assert all(0 <= gpu < node.gpus for gpu in place.gpus)
        cpu[place.row] += shape.cpu_milli
        memory[place.row] += shape.memory_mib
        for gpu in place.gpus:
            gpus[place.row, gpu] += shape.gpu_milli
    assert all(asked <= run.nodes[row].cpu_milli for row, asked in cpu.items())
    assert all(asked <= run.nodes[row].memory_mib for row, asked in memory.items())
    assert all(asked <= WHOLE for asked in gpus.values())


@settings(max_examples=60, deadline=None)
@given(nodes_of, pods_of, rules_of)
def test_no_policy_gives_out_what_is_not_there(nodes: list[Node], pods: list[Pod], rules: Rules) -> None:
    run = simulate(nodes, pods, pods, rules)
    held(run)
    placed = sum(place is not None for place in run.places)
    assert len(run.moves) * 100 <= rules.moves * placed
    # A pod that was moved stays placed, and what is said to be allocated is what the places come to.
    assert all(run.places[moved] is not None for _, moved, _ in run.moves)
    given_out = sum(pod.shape.gpu_total for pod, place in zip(pods, run.places, strict=True) if place is not None)
    capacity = max(1, sum(node.gpus for node in nodes) * WHOLE)
    assert abs(run.allocated[-1] - 100 * given_out / capacity) <= 0.006  # two places, halves rounded either way


@settings(max_examples=25, deadline=None)
@given(nodes_of, pods_of, rules_of)
def test_who_fails_would_fit_nowhere_when_nobody_waits_or_moves(
    nodes: list[Node], pods: list[Pod], rules: Rules
) -> None:
    run = simulate(nodes, pods, pods, Rules(rules.policy, rules.seed, dear=rules.dear))
    for i, (pod, place) in enumerate(zip(pods, run.places, strict=True)):
        if place is None:
            alone = simulate(nodes, pods, pods[:i], Rules(rules.policy, rules.seed, dear=rules.dear))
            for row in range(len(nodes)):
                assert not _fits(alone, row, pod.shape)


def _fits(run: Run, row: int, shape: Shape) -> bool:
    node = run.nodes[row]
    here = [
        (pod.shape, place)
        for pod, place in zip(run.pods, run.places, strict=True)
        if place is not None and place.row == row
    ]
    free = [WHOLE] * node.gpus
    for other, place in here:
        for gpu in place.gpus:
            free[gpu] -= other.gpu_milli
    return (
        node.cpu_milli - sum(other.cpu_milli for other, _ in here) >= shape.cpu_milli
        and node.memory_mib - sum(other.memory_mib for other, _ in here) >= shape.memory_mib
        and (not node.spot or shape.interruptible)
        and (not shape.gpus or not shape.models or node.model in shape.models)
        and sum(part >= shape.gpu_milli for part in free) >= shape.gpus
    )


@settings(max_examples=20, deadline=None)
@given(nodes_of, pods_of, rules_of, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_in_the_files_changes_nothing(
    nodes: list[Node], pods: list[Pod], rules: Rules, shuffler: object
) -> None:
    other_nodes, other_pods = list(nodes), list(pods)
    shuffler.shuffle(other_nodes)  # type: ignore[attr-defined]
    shuffler.shuffle(other_pods)  # type: ignore[attr-defined]
    results = []
    for given_nodes, given_pods in ((nodes, pods), (other_nodes, other_pods)):
        order = arrivals(given_nodes, given_pods, seed=rules.seed, demand=0.5)
        run = simulate(order.nodes, given_pods, order.pods, rules)
        results.append(
            [
                (pod.name, place and (run.nodes[place.row].name, place.gpus))
                for pod, place in zip(run.pods, run.places, strict=True)
            ]
        )
    assert results[0] == results[1]
