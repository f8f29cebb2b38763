from __future__ import annotations

import numpy as np
import pytest
import torch

from nucleate import errors
from nucleate.interactive.clicks import Click
from nucleate.interactive.network import CHANNELS, InteractiveNetwork
from nucleate.interactive.profiles import PROFILES
from nucleate.interactive.refinement import Inputs, Method, RefinementOptions, refine
from nucleate.interactive.refinement.windows import click_windows

SCALED = [Method.FBRS_A, Method.FBRS_B, Method.FBRS_C, Method.GAUSS_NEWTON]
METHODS = [*SCALED, Method.BRS, Method.RGB_BRS]


def calibrated(network: InteractiveNetwork, inputs: Inputs) -> InteractiveNetwork:
    """Give a random network the batch statistics of its input and logits that are spread like a trained one's."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(inputs.image, inputs.clicks, inputs.previous)
        logits, _ = network.eval()(inputs.image, inputs.clicks, inputs.previous)
        network.head.classify.weight.mul_(3 / logits.std())
        network.head.classify.bias.sub_(logits.mean()).mul_(3 / logits.std())
    return network.requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    generator = torch.Generator().manual_seed(1)
    return Inputs(*(torch.rand(1, channels, 64, 64, generator=generator) for channels in CHANNELS))


@pytest.fixture(scope="module")
def network(inputs) -> InteractiveNetwork:
    torch.manual_seed(0)
    return calibrated(InteractiveNetwork(PROFILES["tiny"].architecture), inputs)


@pytest.fixture(scope="module")
def features(network, inputs) -> torch.Tensor:
    return network.encoder(inputs.image, inputs.clicks, inputs.previous)


def disobeyed(network, features, count=1) -> list[Click]:
    """Clicks that the network gets wrong by a logit of about 1, of both signs in turn, away from each other."""
    with torch.no_grad():
        logits = network.decode(features)[0][0, 0].numpy().copy()
    clicks = []
    for i in range(count):
        positive = i % 2 == 0
        y, x = divmod(int(np.nanargmin(np.abs(logits + 1 if positive else logits - 1))), 64)
        clicks.append(Click(x, y, positive))
        logits[max(y - 6, 0) : y + 7, max(x - 6, 0) : x + 7] = np.nan
    return clicks


def test_windows_are_cut_at_the_border_and_a_clicked_pixel_keeps_its_own_sign():
    pixels, sides = click_windows([Click(0, 0, positive=True)], 8, 8)
    assert pixels.tolist() == [0, 1, 8, 9]
    assert (sides == 1).all()
    pixels, sides = click_windows([Click(2, 2, positive=True), Click(3, 2, positive=False)], 8, 8)
    found = dict(zip(pixels.tolist(), sides.tolist(), strict=True))
    assert found[2 * 8 + 2] == 1
    assert found[2 * 8 + 3] == 0
    assert 1 * 8 + 2 not in found  # asked for both sides
    assert len(click_windows([Click(-3, 2, positive=True)], 8, 8)[0]) == 0


@pytest.mark.parametrize("method", METHODS)
def test_refinement_brings_clicks_to_their_side_within_the_limit_and_goes_on_from_there(network, features, inputs, method):
    clicks = disobeyed(network, features)
    options = RefinementOptions(method)
    plain = refine(network, features, clicks, options=RefinementOptions(Method.NONE))
    refined = refine(network, features, clicks, None, options, inputs=inputs)
    assert not plain.obeyed
    assert plain.evaluations == 0
    assert 0 < refined.evaluations <= 20
    assert refined.obeyed
    for click in clicks:
        assert (refined.probability[click.y, click.x] > 0.5) is np.bool_(click.positive)
    if method in SCALED:
        again = refine(network, features, clicks, refined.delta, options)
        assert again.evaluations == 0
        assert np.array_equal(again.probability, refined.probability)
    else:
        assert not len(refined.delta)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("limit", [0, 1, 7])
def test_evaluations_never_exceed_the_limit(network, features, inputs, method, limit):
    clicks = disobeyed(network, features, 4)
    options = RefinementOptions(method, limit, early_stop=False)
    assert refine(network, features, clicks, None, options, inputs=inputs).evaluations <= limit


@pytest.mark.parametrize("method", METHODS)
def test_cancelling_stops_before_the_next_evaluation(network, features, inputs, method):
    asked = []

    def cancelled() -> bool:
        asked.append(None)
        return len(asked) > 1

    with pytest.raises(errors.Cancelled):
        refine(
            network,
            features,
            disobeyed(network, features, 4),
            None,
            RefinementOptions(method, early_stop=False),
            inputs=inputs,
            cancelled=cancelled,
        )
    assert len(asked) == 2


def test_no_change_of_scale_and_bias_is_the_plain_forward_pass(network, features):
    with torch.no_grad():
        logits, auxiliary = network.decode(features)
    assert auxiliary.shape == (1, 2, 16, 16)
    refined = refine(network, features, [])
    np.testing.assert_allclose(refined.probability, logits[0, 0].sigmoid().numpy(), atol=1e-6)
