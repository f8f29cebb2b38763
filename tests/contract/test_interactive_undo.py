"""Undo and Redo on real servers, over two replicas."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tests.contract.interactive_bench import click, click_request, pixels

from nucleate import errors
from nucleate.runtime.channels import call
from nucleate.v1 import interactive_pb2 as pb


def undo(bench, name: str, sequence: int, replica: int = 0) -> pb.UndoResponse:
    return call(bench.stubs[replica].Undo, pb.UndoRequest(session_id=name, sequence=sequence))


def redo(bench, name: str, sequence: int, replica: int = 0) -> pb.RedoResponse:
    return call(bench.stubs[replica].Redo, pb.RedoRequest(session_id=name, sequence=sequence))


def test_clicks_are_taken_back_one_by_one_and_brought_back(bench):
    name = bench.open().session_id
    answers = [call(bench.stubs[0].Click, click_request(name, n + 1, *at)) for n, at in enumerate([(40, 40), (46, 44)])]
    first = undo(bench, name, 3, replica=1)
    assert first.mask == answers[0].mask == first.change.mask
    assert list(first.change.clicks) == [click(40, 40)]
    second = undo(bench, name, 4)
    assert not second.HasField("mask")
    assert (second.change.object_id, list(second.change.removed)) == (0, [answers[0].object_id])
    with pytest.raises(errors.Precondition, match="nothing to undo"):
        undo(bench, name, 5)
    assert redo(bench, name, 5, replica=1).change.mask == answers[0].mask
    again = redo(bench, name, 6)
    assert again.change.mask == answers[1].mask
    assert again.change.object_id == answers[1].object_id
    with pytest.raises(errors.Precondition, match="nothing to redo"):
        redo(bench, name, 7)
    assert bench.session(name, 0) == bench.session(name, 1)


def test_every_kind_of_call_is_taken_back(bench):
    _, instances = bench.image()
    session = bench.open(proposals=bench.proposals(instances))
    stub, name = bench.stubs[0], session.session_id
    chosen, other = session.objects[0], session.objects[1]
    y, x = np.argwhere(pixels(chosen.mask))[0].tolist()
    free = next((x, y) for y in range(16, 112) for x in range(16, 112) if not instances[y - 3 : y + 4, x - 3 : x + 4].any())
    calls = [
        (stub.DeleteObject, pb.DeleteObjectRequest(object_id=other.object_id)),
        (stub.SelectObject, pb.SelectObjectRequest(object_id=chosen.object_id)),
        (stub.Click, click_request(name, 0, x, y)),
        (stub.Accept, pb.AcceptRequest()),
        (stub.ClickMany, pb.ClickManyRequest(clicks=[click(*free)])),
        (stub.Propose, pb.ProposeRequest(instances=bench.proposals(instances))),
    ]
    seen = [bench.session(name)]
    for method, request in calls:
        request.session_id, request.sequence = name, seen[-1].sequence
        call(method, request)
        seen.append(bench.session(name))

    def plain(found: pb.Session) -> pb.Session:
        copy = pb.Session()
        copy.CopyFrom(found)
        copy.sequence = 0
        return copy

    assert all(plain(a) != plain(b) for a, b in itertools.pairwise(seen))
    for before in seen[-2::-1]:
        undo(bench, name, bench.session(name).sequence, replica=1)
        assert plain(bench.session(name)) == plain(before)
    for after in seen[1:]:
        redo(bench, name, bench.session(name).sequence)
        assert plain(bench.session(name, 1)) == plain(after)
    closed = call(stub.CloseSession, pb.CloseSessionRequest(session_id=name))
    assert closed.clicks == 3  # a deletion, a click and a click of the batch, however often they were taken back


def test_the_change_tells_a_client_all_it_needs(bench):
    """A client that only follows the answers has the same objects as one that reads the session."""
    _, instances = bench.image()
    session = bench.open(proposals=bench.proposals(instances))
    name = session.session_id
    kept = session.objects[0]
    call(bench.stubs[0].SelectObject, pb.SelectObjectRequest(session_id=name, sequence=1, object_id=kept.object_id))
    call(bench.stubs[0].Accept, pb.AcceptRequest(session_id=name, sequence=2))
    change = undo(bench, name, 3).change
    assert (change.object_id, change.mask, list(change.clicks)) == (kept.object_id, kept.mask, [])
    assert list(change.changed) == [kept]
    change = undo(bench, name, 4).change
    assert (change.object_id, list(change.changed), list(change.removed)) == (0, [kept], [])


def test_a_repeated_undo_gets_its_first_result(bench):
    name = bench.open().session_id
    call(bench.stubs[0].Click, click_request(name, 1, 40, 40))
    first = undo(bench, name, 2)
    assert undo(bench, name, 2, replica=1) == first
    assert bench.session(name).sequence == 3
