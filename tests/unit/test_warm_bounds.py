"""What is let go: no more than needed, the least recently asked for first, and nothing that is routed."""

from hypothesis import given
from hypothesis import strategies as st

from api.warm_bounds import WarmBounds
from trajops.deployments.model_ref import ModelRef

NOW_NS = 10**15


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 2_000), st.booleans()), max_size=12),
    st.integers(2, 8),
    st.integers(0, 400),
    st.integers(1, 1_500),
)
def test_no_more_and_no_less_than_needed(found: list[tuple[int, int, bool]], versions: int, size_bytes: int, idle_s: int) -> None:
    sizes = {ModelRef("m", n): size for n, (size, _, _) in enumerate(found)}
    asked_ns = {ModelRef("m", n): NOW_NS - age_s * 10**9 for n, (_, age_s, is_routed) in enumerate(found) if not is_routed}
    gone = WarmBounds(versions, size_bytes, idle_s).let_go(sizes, asked_ns, NOW_NS)
    stay = sizes.keys() - gone.keys()
    spare = [ref for ref in stay if ref in asked_ns]
    assert gone.keys() <= asked_ns.keys()
    if spare:
        assert len(stay) <= versions
        assert sum(sizes[ref] for ref in stay) <= size_bytes
        assert min(asked_ns[ref] for ref in spare) >= NOW_NS - idle_s * 10**9
        assert all(asked_ns[left] <= asked_ns[ref] for left in gone for ref in spare)
    for last in list(gone)[-1:]:  # with the last of them one bound would be broken
        before = stay | {last}
        assert len(before) > versions or sum(sizes[ref] for ref in before) > size_bytes or asked_ns[last] < NOW_NS - idle_s * 10**9
