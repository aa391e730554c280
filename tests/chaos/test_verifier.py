"""A verifier that has never caught a bug proves nothing: it is shown one history of each kind."""

import random
from dataclasses import replace

import pytest

from testing.chaos.verifier import (
    At,
    Expected,
    Outcome,
    Sent,
    Window,
    all_sent,
    judge,
    judge_tasks,
    outdated,
)


def history(count: int = 20, partitions: int = 2) -> tuple[list[Sent], list[Outcome]]:
    """A run in which all went well: even offsets are labels, odd ones reviews."""
    places = [At(p, offset) for p in range(partitions) for offset in range(count)]
    sent = [Sent(at, id=f"{at.partition}:{at.offset}") for at in places]
    outcomes = [
        Outcome(at, ("labels", "review")[at.offset % 2], at.partition, at.offset // 2, id=s.id)
        for at, s in zip(places, sent, strict=True)
    ]
    return sent, outcomes


ALL = {0: 20, 1: 20}


def test_a_clean_history_has_no_damage() -> None:
    verdict = judge(*history(), committed=ALL)
    assert verdict.damage() == {}
    assert verdict.records == 40


def test_a_record_without_outcome_below_the_committed_offset_is_lost() -> None:
    sent, outcomes = history()
    missing = outcomes.pop(7)
    verdict = judge(sent, outcomes, committed=ALL)
    assert verdict.damage() == {"lost": 1}
    assert verdict.examples["lost"] == [missing.source]


def test_a_record_without_outcome_above_the_committed_offset_is_stuck() -> None:
    sent, outcomes = history()
    kept = [each for each in outcomes if each.source != At(0, 19)]
    assert judge(sent, kept, committed={0: 19, 1: 20}).damage() == {"stuck": 1}
    assert judge(sent, kept, committed={}).damage() == {"stuck": 1}


def again(outcome: Outcome) -> Outcome:
    """The same outcome once more, at the end of its topic."""
    return Outcome(outcome.source, outcome.topic, outcome.partition, 1000, id=outcome.id)


def test_a_second_outcome_is_doubled_also_in_another_topic() -> None:
    sent, outcomes = history()
    elsewhere = Outcome(At(0, 4), "dead-letters", 0, 0, is_dead=True)
    verdict = judge(sent, [*outcomes, again(outcomes[3]), elsewhere], committed=ALL)
    assert verdict.damage() == {"doubled": 2, "misrouted": 1}


def test_a_double_is_explained_once_by_each_fault_that_met_it_in_flight() -> None:
    sent, outcomes = history()
    doubled = [*outcomes, again(outcomes[3])]
    met = Window({0: (2, 5)})
    missed = Window({0: (4, 9), 1: (0, 20)})
    assert met.items == 3
    allowed = judge(sent, doubled, committed=ALL, windows=[met, missed])
    assert allowed.doubled == 1
    assert allowed.damage(doubles_allowed=True) == {}
    refused = judge(sent, doubled, committed=ALL, windows=[missed])
    assert refused.damage(doubles_allowed=True) == {"unexplained": 1}
    twice = judge(sent, [*doubled, again(outcomes[3])], committed=ALL, windows=[met, missed])
    assert twice.damage(doubles_allowed=True) == {"unexplained": 1}


def test_an_older_record_behind_a_younger_one_is_out_of_order() -> None:
    sent, outcomes = history()
    early, late = outcomes[4], outcomes[6]
    outcomes[4] = Outcome(early.source, early.topic, early.partition, late.offset, id=early.id)
    outcomes[6] = Outcome(late.source, late.topic, late.partition, early.offset, id=late.id)
    random.Random(1).shuffle(outcomes)  # the order is that of the topic, not of the list
    verdict = judge(sent, outcomes, committed=ALL)
    assert verdict.damage() == {"out_of_order": 1}
    assert verdict.examples["out_of_order"] == [early.source]


def test_a_repetition_is_doubled_and_not_out_of_order_as_well() -> None:
    sent, outcomes = history()
    verdict = judge(sent, [*outcomes, again(outcomes[0]), again(outcomes[2])], committed=ALL)
    assert verdict.damage() == {"doubled": 2}


def test_a_record_whose_acknowledgement_was_lost_must_have_its_outcome() -> None:
    sent, outcomes = history()
    acknowledged = [each for each in sent if each.at != At(0, 3)]
    found = judge(all_sent(acknowledged, sent), outcomes, committed=ALL)
    assert found.damage() == {}
    assert found.records == 40
    without = [each for each in outcomes if each.source != At(0, 3)]
    assert judge(all_sent(acknowledged, sent), without, committed=ALL).damage() == {"lost": 1}


def test_what_is_in_no_input_topic_is_a_phantom_also_if_acknowledgements_were_lost() -> None:
    sent, outcomes = history()
    extra = Outcome(At(0, 20), "labels", 0, 99)
    found = judge(all_sent(sent[1:], sent), [*outcomes, extra], committed=ALL)
    assert found.damage() == {"phantom": 1}
    assert found.examples["phantom"] == [At(0, 20)]


def test_what_was_acknowledged_and_is_not_in_the_topic_any_more_still_counts() -> None:
    sent, outcomes = history()
    kept = [each for each in outcomes if each.source != At(1, 0)]
    assert judge(all_sent(sent, sent[-5:]), kept, committed=ALL).damage() == {"lost": 1}


def test_an_outcome_of_nothing_that_was_sent_is_a_phantom() -> None:
    sent, outcomes = history()
    extra = Outcome(At(1, 99), "labels", 1, 500)
    assert judge(sent, [*outcomes, extra], committed=ALL).damage() == {"phantom": 1}


@pytest.mark.parametrize(
    ("expected", "damage"), [("dead_letter", {"misrouted": 1}), ("any", {}), ("result", {})]
)
def test_the_wrong_kind_of_outcome_is_misrouted(expected: Expected, damage: dict[str, int]) -> None:
    sent, outcomes = history()
    sent[0] = Sent(sent[0].at, expected)
    assert judge(sent, outcomes, committed=ALL).damage() == damage


def test_an_outcome_with_the_id_of_another_record_is_mixed_up() -> None:
    sent, outcomes = history()
    first = outcomes[0]
    outcomes[0] = Outcome(first.source, first.topic, first.partition, first.offset, id="0:19")
    assert judge(sent, outcomes, committed=ALL).damage() == {"mixed_up": 1}


def test_a_record_that_was_deleted_before_it_had_an_outcome_may_have_one_or_none() -> None:
    sent, outcomes = history()
    kept = [each for each in outcomes if each.source != At(0, 19)]
    excused = [At(0, 18), At(0, 19)]
    assert judge(sent, kept, committed=ALL, excused=excused).damage() == {}
    assert judge(sent, kept, committed=ALL, excused=excused[:1]).damage() == {"lost": 1}


def test_what_was_read_before_its_turn_is_in_order_if_it_was_read_again_in_its_turn() -> None:
    sent, outcomes = history(partitions=1)
    early = [replace(each, offset=each.offset - 100) for each in outcomes if each.source.offset > 9]
    window = Window({0: (10, 20)}, is_early=True)
    read_again = judge(sent, [*early, *outcomes], committed=ALL, windows=[window])
    assert read_again.damage(doubles_allowed=True) == {}
    assert read_again.doubled == 10
    not_again = judge(sent, [*early, *outcomes[:10]], committed=ALL, windows=[window])
    assert not_again.damage() == {"out_of_order": 10}
    once = judge(sent, [*early, *outcomes], committed=ALL, windows=[Window({0: (10, 20)})])
    assert once.damage(doubles_allowed=True) == {"out_of_order": 10}


def test_a_key_whose_last_outcome_is_not_that_of_its_newest_record_is_outdated() -> None:
    places = [At(0, offset) for offset in range(4)]
    sent = [Sent(at, key="ab"[at.offset % 2]) for at in places]
    kept = [Outcome(at, "labels", 0, at.offset, key="ab"[at.offset % 2]) for at in places[1:]]
    assert outdated(sent, kept) == []  # compaction took the first of "a"
    assert outdated(sent, kept[:-1]) == [At(0, 3)]
    late = replace(kept[0], offset=9)
    assert outdated(sent, [*kept, late]) == [At(0, 3)]
    assert outdated(sent, [replace(each, key="x") for each in kept]) == [At(0, 2), At(0, 3)]
    assert outdated([*sent, Sent(At(0, 4), "dead_letter", key="a"), Sent(At(0, 5))], kept) == []


def test_of_several_tasks_each_must_have_every_outcome_once() -> None:
    sent, outcomes = history()
    tasks = ("a", "b")
    both = [replace(each, task=task) for each in outcomes for task in tasks]
    assert judge_tasks(tasks, sent, both, committed=ALL).damage() == {}
    without = [each for each in both if (each.source, each.task) != (At(0, 7), "b")]
    assert judge_tasks(tasks, sent, without, committed=ALL).damage() == {"lost": 1}
    doubled = [*both, replace(both[4], offset=1000)]
    assert judge_tasks(tasks, sent, doubled, committed=ALL).damage() == {"doubled": 1}
    undecodable = [each for each in both if each.source != At(0, 7)]
    one = replace(outcomes[7], task=None)
    assert one.source == At(0, 7)
    assert judge_tasks(tasks, sent, [*undecodable, one], committed=ALL).damage() == {}
    assert judge_tasks((), sent, outcomes, committed=ALL).damage() == {}
