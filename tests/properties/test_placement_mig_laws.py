"""No pod gets a part of a GPU that NVIDIA's table does not allow, and none fails while one is free.

The table is written down here once more, from the output of `nvidia-smi mig -lgipp` (profile: starts, memory slices).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse.execution.placement.simulation import POLICIES, Rules, Run, simulate
from customhouse.execution.placement.slices import layout_exists, part_of
from customhouse.execution.placement.workload import Cut, Node, Pod, Shape

H100 = {
    "1g.10gb": ((0, 1, 2, 3, 4, 5, 6), 1),
    "1g.20gb": ((0, 2, 4, 6), 2),
    "2g.20gb": ((0, 2, 4), 2),
    "3g.40gb": ((0, 4), 4),
    "4g.40gb": ((0,), 4),
    "7g.80gb": ((0,), 8),
}
A30 = {"1g.6gb": ((0, 1, 2, 3), 1), "2g.12gb": ((0, 2), 2), "4g.24gb": ((0,), 4)}
# What a whole H100 can be cut into without the 1g.20gb (NVIDIA MIG user guide, "Supported profile combinations").
COMBINATIONS = [
    {"7g.80gb": 1},
    {"4g.40gb": 1, "3g.40gb": 1},
    {"4g.40gb": 1, "2g.20gb": 1, "1g.10gb": 1},
    {"4g.40gb": 1, "1g.10gb": 3},
    {"3g.40gb": 2},
    {"3g.40gb": 1, "2g.20gb": 2},
    {"3g.40gb": 1, "2g.20gb": 1, "1g.10gb": 2},
    {"3g.40gb": 1, "1g.10gb": 4},
    {"2g.20gb": 3, "1g.10gb": 1},
    {"2g.20gb": 2, "1g.10gb": 3},
    {"2g.20gb": 1, "1g.10gb": 5},
    {"1g.10gb": 7},
]


def layouts(table: dict[str, tuple[tuple[int, ...], int]]) -> Iterator[frozenset[tuple[str, int]]]:
    """Every set of parts that fits a card, by trying all."""
    every = [(name, start, size) for name, (starts, size) in table.items() for start in starts]

    def more(
        at: int, taken: frozenset[int], chosen: frozenset[tuple[str, int]]
    ) -> Iterator[frozenset[tuple[str, int]]]:
        yield chosen
        for i in range(at, len(every)):
            name, start, size = every[i]
            slices = frozenset(range(start, start + size))
            if not slices & taken:
                yield from more(i + 1, taken | slices, chosen | {(name, start)})

    yield from more(0, frozenset(), frozenset())


VALID = {"H100": frozenset(layouts(H100)), "A30": frozenset(layouts(A30))}
TABLES = {"H100": H100, "A30": A30}
CUTTABLE = {
    card: {tuple(sorted(Counter(name for name, _ in layout).items())) for layout in valid}
    for card, valid in VALID.items()
}

profiles_of = st.lists(st.sampled_from([*H100, *A30]), min_size=1, max_size=40)
cuts_of = st.one_of(
    st.just(Cut("H100")),
    st.just(Cut("A30")),
    st.just(None),
    st.sampled_from(sorted(VALID["H100"], key=sorted)).map(
        lambda layout: Cut("H100", tuple(sorted(name for name, _ in layout))) if layout else Cut("H100")
    ),
)
nodes_of = st.lists(st.tuples(cuts_of, st.integers(1, 3)), min_size=1, max_size=4).map(
    lambda made: [
        Node(f"n{i}", 40_000, 40_000, gpus, cut.card if cut else "H100", None, False, cut)
        for i, (cut, gpus) in enumerate(made)
    ]
)


def held(run: Run) -> dict[tuple[int, int], list[tuple[str, int]]]:
    """Of each GPU, the parts that were given, as (profile, first memory slice)."""
    parts: dict[tuple[int, int], list[tuple[str, int]]] = defaultdict(list)
    for pod, place in zip(run.pods, run.places, strict=True):
        if place is not None and pod.shape.mig:
            parts[place.row, place.gpus[0]].append((pod.shape.mig, (place.part & -place.part).bit_length() - 1))
        elif place is not None and pod.shape.gpus:
            assert run.nodes[place.row].mig is None, "a whole GPU is none that is handed out in parts"
    return parts


@settings(max_examples=60, deadline=None)
@given(nodes_of, profiles_of, st.sampled_from(POLICIES), st.integers(0, 9), st.booleans())
def test_every_gpu_is_cut_as_the_table_allows_and_nobody_fails_beside_a_free_part(
    nodes: list[Node], profiles: list[str], policy: str, seed: int, mixed: bool
) -> None:
    cuts = {node.mig for node in nodes if node.mig}
    pods = [
        Pod(f"p{i:02}", Shape(1, 1, 1, part_of(profile, cuts) or 0, mig=profile)) for i, profile in enumerate(profiles)
    ]
    pods += [Pod(f"w{i}", Shape(1, 1, 1, 500 * (1 + i % 2))) for i in range(4)] if mixed else []
    run = simulate(nodes, pods, pods, Rules(policy, seed, moves=100.0, window=2))
    parts = held(run)
    for (row, _), given_out in parts.items():
        cut = nodes[row].mig
        assert cut is not None
        assert len(set(given_out)) == len(given_out)
        assert frozenset(given_out) in VALID[cut.card]
        if cut.fixed:
            assert not Counter(name for name, _ in given_out) - Counter(cut.fixed)
    for pod, place in zip(run.pods, run.places, strict=True):
        if place is None and pod.shape.mig:
            for row, node in enumerate(nodes):
                for gpu in range(node.gpus):
                    now = parts.get((row, gpu), [])
                    assert not _could_take(node, now, pod.shape.mig)


def _could_take(node: Node, now: list[tuple[str, int]], profile: str) -> bool:
    if node.mig is None:
        return False
    if node.mig.fixed:
        return Counter(name for name, _ in now)[profile] < Counter(node.mig.fixed)[profile]
    starts = TABLES[node.mig.card].get(profile, ((), 0))[0]
    return any(
        frozenset([*now, (profile, start)]) in VALID[node.mig.card] for start in starts if (profile, start) not in now
    )


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["H100", "A30"]), st.data())
def test_a_card_can_be_cut_into_what_the_brute_force_finds_and_into_nothing_else(
    card: str, data: st.DataObject
) -> None:
    names = tuple(sorted(data.draw(st.lists(st.sampled_from(sorted(TABLES[card])), min_size=1, max_size=7))))
    assert layout_exists(Cut(card, names)) == (tuple(sorted(Counter(names).items())) in CUTTABLE[card])


def test_the_combinations_that_nvidia_names_exist_and_one_part_more_does_not() -> None:
    for combination in COMBINATIONS:
        names = tuple(sorted(Counter(combination).elements()))
        assert layout_exists(Cut("H100", names))
        for more in H100:
            if more != "1g.20gb":
                assert not layout_exists(Cut("H100", tuple(sorted((*names, more)))))
