"""What the bus is told of a service's work: all but what another instance may do as well."""

from eventbus_client.in_hand import InHand


def question(seq):
    return {"name": "check-domain", "seq": seq, "epoch": "e"}


def test_what_waits_for_a_handler_is_named_as_long_as_a_place_may_become_free():
    in_hand = InHand(handler_timeout=0.0, places=2)
    works = [in_hand.take(question(seq)) for seq in (1, 2, 3)]
    assert in_hand.seqs("e") == [1, 2, 3]

    works[0].begin()

    assert in_hand.seqs("e") == [2, 3]


def test_what_waits_behind_handlers_that_all_hang_is_left_to_another_instance():
    in_hand = InHand(handler_timeout=0.0, places=2)
    works = [in_hand.take(question(seq)) for seq in (1, 2, 3)]
    in_hand.seqs("e")
    works[0].begin()
    works[1].begin()

    assert in_hand.seqs("e") == []
    works[0].is_answered()
    assert in_hand.seqs("e") == [1, 3]
