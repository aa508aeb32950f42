"""What `docs/rollouts.md` says of the policy `quick`, with fewer rollouts: those who are too bad stay out, however often is looked."""

from benchmarks.rollout_no_worse import run


def test_quick_lets_no_more_through_than_it_promises_and_needs_a_fraction_of_the_agents() -> None:
    found = run(rollouts=200).details
    assert found["shadow_lets_worse_through"] <= 0.025
    assert found["canary_lets_worse_through"] <= 0.025
    assert found["peeking_paired_test_lets_worse_through"] >= 0.2, "the negative control must fail here"
    assert found["shadow_agents_for_80_percent"] < found["canary_agents_for_80_percent"] / 4


def test_who_is_worse_for_a_few_agents_gets_through_more_often_the_fewer_are_waited_for() -> None:
    found = run(rollouts=200).details
    through = [found[f"worse_for_few_let_through_from_{least}_agents"] for least in (20, 50, 100)]
    assert through == sorted(through, reverse=True)
    assert through[0] > 0.1, "docs/rollouts.md warns of it"
    assert through[-1] < through[0] / 2 + 0.02
