"""What a session is opened with: models by message, reference and default, and refinement."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load, save
from tests.contract.interactive_bench import click_request

from nucleate import errors
from nucleate.client.files.model_folders import store_model
from nucleate.runtime.channels import call
from nucleate.v1 import common_pb2 as common
from nucleate.v1 import interactive_pb2 as pb


def with_weights(bench, change) -> common.Model:
    """The bench's model with its weights changed."""
    model = common.Model()
    model.CopyFrom(bench.model)
    weights = change(load(bench.blobs.get(model.files["model.safetensors"])))
    model.files["model.safetensors"].CopyFrom(bench.blobs.put(save(weights), "application/vnd.safetensors"))
    return model


def with_card(bench, **config: object) -> common.Model:
    """The bench's model with fields of its architecture changed."""
    model = common.Model()
    model.CopyFrom(bench.model)
    card = json.loads(bench.blobs.get(model.card))
    card["config"] |= config
    model.card.CopyFrom(bench.blobs.put(json.dumps(card).encode(), "application/json"))
    return model


class TestModels:
    def test_a_reference_gives_the_same_masks_as_the_model(self, bench):
        reference = store_model(bench.model, bench.blobs)
        names = [bench.open().session_id, bench.open(model=None, model_ref=reference).session_id]
        answers = [call(bench.stubs[0].Click, click_request(name, 1, 40, 40)) for name in names]
        assert answers[0].mask == answers[1].mask

    def test_the_default_is_written_into_the_session(self, bench):
        reference = store_model(bench.model, bench.blobs)
        opening = bench.opening(model=None)
        with bench.replica(model=reference) as stub:
            session = call(stub.OpenSession, opening).session
        # Another replica, whose own default is none, goes on with the session.
        assert call(bench.stubs[0].Click, click_request(session.session_id, 1, 40, 40)).sequence == 2
        assert call(bench.stubs[0].OpenSession, opening).session.sequence == 2

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"model": None}, errors.Precondition, "NUCLEATE_MODEL"),
            ({"model_ref": "model:sha256/ab/" + "0" * 64}, errors.InvalidInput, "send one of them"),
            ({"model": None, "model_ref": "model:sha256/00/" + "0" * 64}, errors.InvalidModel, "names no stored model"),
            ({"model": None, "model_ref": "model:sealed/00/" + "0" * 64}, errors.InvalidModel, "is no reference"),
            ({"model": None, "model_ref": "../../etc/passwd"}, errors.InvalidModel, "is no reference"),
        ],
    )
    def test_no_model_is_a_clear_status(self, bench, changes, error, message):
        with pytest.raises(error, match=message):
            bench.open(**changes)

    def test_a_reference_to_something_else_is_refused(self, bench):
        blob = bench.blobs.put(b"\x00 no model", "application/octet-stream")
        with pytest.raises(errors.InvalidModel, match="names no stored model"):
            bench.open(model=None, model_ref=f"model:{blob.uri}")

    def test_weights_that_are_not_finite_or_of_another_architecture_are_refused(self, bench):
        name = "encoder.fuse_image.layers.0.weight"

        def spoilt(weights):
            return weights | {name: np.full_like(weights[name], np.nan)}

        def cut(weights):
            return weights | {name: weights[name][:1]}

        def scaled(weights):
            return {name: value * 2 if value.dtype == np.float32 else value for name, value in weights.items()}

        def without(weights):
            return {key: value for key, value in weights.items() if key != name}

        for change in (spoilt, cut, scaled, without):
            with pytest.raises(errors.InvalidModel):
                bench.open(model=with_weights(bench, change))
        for config in ({"width": 5}, {"width": -1}, {"crop": 33}):
            with pytest.raises(errors.InvalidModel):
                bench.open(model=with_card(bench, **config))
        session = bench.open()  # the service is unharmed
        assert call(bench.stubs[0].Click, click_request(session.session_id, 1, 40, 40)).clicks_obeyed


class TestRefinement:
    @pytest.mark.parametrize("method", [number for number in pb.RefinementMethod.values() if number])
    def test_every_method_obeys(self, bench, method):
        name = bench.open(refinement=pb.Refinement(method=method, most_evaluations=5)).session_id
        for sequence, (x, y, positive) in enumerate([(40, 40, True), (52, 44, False), (36, 46, True)], 1):
            answer = call(bench.stubs[sequence % 2].Click, click_request(name, sequence, x, y, positive))
            assert answer.clicks_obeyed
            assert list(answer.honoured) == [True] * sequence
            assert answer.optimizer_evaluations <= (0 if method == pb.REFINEMENT_METHOD_NONE else 15)

    def test_all_evaluations_are_spent_when_asked_for(self, bench):
        asked = pb.Refinement(method=pb.REFINEMENT_METHOD_FBRS_B, most_evaluations=7, spend_all=True)
        name = bench.open(refinement=asked).session_id
        assert call(bench.stubs[0].Click, click_request(name, 1, 40, 40)).optimizer_evaluations >= 7

    @pytest.mark.parametrize(
        ("refinement", "message"),
        [(pb.Refinement(method=99), "is unknown here"), (pb.Refinement(most_evaluations=201), "at most 200")],
    )
    def test_what_makes_no_sense_is_refused(self, bench, refinement, message):
        with pytest.raises(errors.InvalidInput, match=message):
            bench.open(refinement=refinement)

    def test_another_refinement_is_another_session(self, bench):
        session = bench.open()
        with pytest.raises(errors.Conflict):
            bench.open(session_id=session.session_id, refinement=pb.Refinement(most_evaluations=3))
