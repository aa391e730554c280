"""Two producers share a transactional id exactly if they must fence each other."""

from hypothesis import assume, given
from hypothesis import strategies as st

from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.kafka.transactional_ids import input_id, replay_id

# what joins and what separates is likelier than in arbitrary text
GROUPS = st.text(st.sampled_from("ab-/._0") | st.characters(exclude_categories=["Cs"]), min_size=1)
TOPICS = st.text(st.sampled_from("ab-._0"), min_size=1, max_size=12)
PLACES = st.builds(TopicPartition, TOPICS, st.integers(0, 20))
OWNERS = st.tuples(GROUPS, PLACES)


@given(OWNERS, OWNERS)
def test_two_services_share_an_id_only_with_group_topic_and_partition(
    one: tuple[str, TopicPartition], other: tuple[str, TopicPartition]
) -> None:
    assume(one != other)
    assert input_id(*one) != input_id(*other)


@given(GROUPS, PLACES, st.data())
def test_no_way_to_cut_an_id_makes_another_owner_of_it(
    group: str, place: TopicPartition, data: st.DataObject
) -> None:
    joined = input_id(group, place)
    cut = data.draw(st.integers(1, len(joined)))
    other = joined[:cut]
    rest = TopicPartition(joined[cut:].split("/")[0] or "t", place.partition)
    if (other, rest) != (group, place):
        assert input_id(other, rest) != joined


@given(GROUPS, PLACES, PLACES)
def test_a_replay_never_meets_a_service(
    group: str, place: TopicPartition, dead: TopicPartition
) -> None:
    assert replay_id(dead) != input_id(group, place)


@given(PLACES, PLACES)
def test_a_replay_is_named_by_the_partition_that_it_reads(
    one: TopicPartition, other: TopicPartition
) -> None:
    assert (replay_id(one) == replay_id(other)) == (one == other)


@given(GROUPS, PLACES)
def test_a_prefix_grants_all_of_a_group(group: str, place: TopicPartition) -> None:
    assert input_id(group, place).startswith(f"{group}/")


def test_the_names_that_met_before() -> None:
    one = input_id("mod", TopicPartition("eu-texts", 0))
    assert one == "mod/input/eu-texts/0"
    assert one != input_id("mod-eu", TopicPartition("texts", 0))
    assert replay_id(TopicPartition("dead", 3)) == "streamlabel/replay/dead/3"
