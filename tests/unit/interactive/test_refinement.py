from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import fmin_l_bfgs_b

from nucleate import errors
from nucleate.interactive.clicks import Click
from nucleate.interactive.networks.interactive_network import CHANNELS, InteractiveNetwork
from nucleate.interactive.refinement import EncoderInputs, Method, RefinementOptions, refine, refine_many
from nucleate.interactive.refinement.click_constraints import ClickConstraints, click_windows
from nucleate.interactive.refinement.gauss_newton import solve_squared_hinge
from nucleate.interactive.refinement.modulation import FeatureScaleBias, auxiliary_parameters
from nucleate.interactive.refinement.sparse_head import SparseHead
from nucleate.interactive.training.profiles import PROFILES

SCALED = [Method.FBRS_A, Method.FBRS_B, Method.FBRS_C, Method.GAUSS_NEWTON]
METHODS = [*SCALED, Method.BRS, Method.RGB_BRS]


def calibrated(network: InteractiveNetwork, inputs: EncoderInputs) -> InteractiveNetwork:
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
def inputs() -> EncoderInputs:
    generator = torch.Generator().manual_seed(1)
    return EncoderInputs(*(torch.rand(1, channels, 64, 64, generator=generator) for channels in CHANNELS))


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
    constraints = []

    def cancelled() -> bool:
        constraints.append(None)
        return len(constraints) > 1

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
    assert len(constraints) == 2


def test_no_change_of_scale_and_bias_is_the_plain_forward_pass(network, features):
    with torch.no_grad():
        logits, auxiliary = network.decode(features)
    assert auxiliary.shape == (1, 2, 16, 16)
    refined = refine(network, features, [])
    np.testing.assert_allclose(refined.probability, logits[0, 0].sigmoid().numpy(), atol=1e-6)


def asked_of(features, clicks) -> ClickConstraints:
    return ClickConstraints.windows(clicks, 4 * features.shape[2], 4 * features.shape[3], features.device)


@pytest.mark.parametrize("method", [*SCALED, Method.BRS, Method.RGB_BRS])
def test_energy_is_its_formula_and_its_gradient_that_of_finite_differences(network, features, inputs, method):
    network = copy.deepcopy(network).double()
    doubled = EncoderInputs(inputs.image.double(), inputs.clicks.double(), inputs.previous.double())
    parameters = auxiliary_parameters(method, network, features.double(), doubled)
    clicks = disobeyed(network.float(), features, 3)
    network.double()
    constraints = (ClickConstraints.points if method is Method.BRS else ClickConstraints.windows)(
        clicks, 64, 64, features.device
    )
    delta = 0.01 * torch.randn(parameters.length, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    probability = parameters.logits(delta).sigmoid()
    errors_of = {True: [], False: []}
    for pixel, side in zip(constraints.pixels.tolist(), constraints.labels.tolist(), strict=True):
        errors_of[bool(side)].append((float(probability.flatten()[pixel]) - side) ** 2)
    combine = np.sum if method is Method.BRS else np.mean
    corrective = sum(combine(values) for values in errors_of.values() if values)
    scale, bias = delta.chunk(2)
    inertia = (delta**2).sum() if method in {Method.BRS, Method.RGB_BRS} else (scale**2).sum() + 10 * (bias**2).sum()
    assert float(constraints.corrective_energy(probability)) == pytest.approx(float(corrective))
    assert float(parameters.inertial_energy(delta)) == pytest.approx(float(inertia))

    def energy(point):
        return constraints.corrective_energy(parameters.logits(point).sigmoid()) + 1e-3 * parameters.inertial_energy(point)

    variable = delta.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(energy(variable), variable)
    direction = torch.randn(parameters.length, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    numeric = (energy(delta + 1e-6 * direction) - energy(delta - 1e-6 * direction)) / 2e-6
    assert float(gradient @ direction) == pytest.approx(float(numeric), rel=1e-3, abs=1e-7)


def test_patches_give_the_logits_of_the_whole_head_and_their_derivatives_at_fixed_class_vectors(network, features):
    network, features = copy.deepcopy(network).double(), features.double()
    clicks = [Click(0, 0, True), Click(63, 63, False), Click(31, 0, False), Click(20, 41, True)]
    constraints, parameters = asked_of(features, clicks), FeatureScaleBias(network, features, features.shape[1])
    patches = SparseHead(network.head, features, constraints.pixels)
    delta = 0.05 * torch.randn(parameters.length, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        logits, objects = parameters.decode(delta)
    found, slopes = patches.linearise(delta, objects)
    np.testing.assert_allclose(found, logits.flatten()[constraints.pixels], atol=1e-5)
    step = 1e-5 * torch.randn(parameters.length, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    ahead, behind = (patches.linearise(delta + sign * step, objects)[0] for sign in (1, -1))
    np.testing.assert_allclose(slopes @ step, (ahead - behind) / 2, atol=1e-8)


@given(st.integers(1, 12), st.integers(1, 20), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_the_linearised_problem_is_solved_as_l_bfgs_solves_it(rows, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    slopes, wanted = (torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((rows, columns), (rows,)))
    weights, price = (0.1 + torch.rand(count, dtype=torch.float64, generator=generator) for count in (rows, columns))

    def energy(point):
        point = torch.from_numpy(point)
        lacking = (wanted - slopes @ point).clamp(min=0)
        gradient = price * point - slopes.T @ (weights * lacking)
        return float((weights * lacking**2).sum() + (price * point**2).sum()) / 2, gradient.numpy()

    found = solve_squared_hinge(slopes, wanted, weights, price).numpy()
    expected, least, _ = fmin_l_bfgs_b(energy, np.zeros(columns), pgtol=1e-10, factr=1)
    assert energy(found)[0] <= least + 1e-8
    np.testing.assert_allclose(found, expected, atol=1e-4)


spots = st.tuples(st.integers(-3, 18), st.integers(-3, 18))


@given(st.dictionaries(spots, st.booleans(), max_size=8), st.integers(0, 2))
@settings(max_examples=100, deadline=None)
def test_windows_ask_each_pixel_once_and_never_against_a_click(placed, radius):
    clicks = [Click(x, y, positive) for (x, y), positive in placed.items()]
    pixels, sides = click_windows(clicks, 16, 16, radius)
    assert len(np.unique(pixels)) == len(pixels)
    found = dict(zip(pixels.tolist(), sides.tolist(), strict=True))
    for (x, y), positive in placed.items():
        if 0 <= x < 16 and 0 <= y < 16:
            assert found[16 * y + x] == positive
    for pixel, side in found.items():
        y, x = divmod(pixel, 16)
        near = {c.positive for c in clicks if max(abs(c.x - x), abs(c.y - y)) <= radius and 0 <= c.x < 16 and 0 <= c.y < 16}
        assert bool(side) in near
        assert len(near) == 1 or (x, y) in placed


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_give_no_nan(network, features, inputs, method, value):
    broken = features.clone()
    broken[0, 0, 3, 3] = value
    hurt = EncoderInputs(torch.full_like(inputs.image, value), inputs.clicks, inputs.previous)
    refined = refine(network, broken, [Click(30, 30, True)], None, RefinementOptions(method), inputs=hurt)
    assert np.isfinite(refined.probability).all()
    assert not refined.obeyed


def test_a_change_that_spoils_the_answer_or_belongs_to_another_method_is_dropped(network, features):
    clicks = disobeyed(network, features)
    fresh = refine(network, features, clicks)
    for delta in (np.full(2 * features.shape[1], np.nan, np.float32), np.ones(3, np.float32)):
        again = refine(network, features, clicks, delta)
        assert np.array_equal(again.probability, fresh.probability)


def test_many_are_refined_as_each_alone(network, features):
    both = torch.cat([features, features.flip(3)])
    clicks = [disobeyed(network, both[:1]), [Click(63 - c.x, c.y, not c.positive) for c in disobeyed(network, both[:1])]]
    many = refine_many(network, both, clicks, [None, None])
    for i, found in enumerate(many):
        alone = refine(network, both[i : i + 1], clicks[i])
        np.testing.assert_allclose(found.probability, alone.probability, atol=1e-5)
        assert found.evaluations == alone.evaluations
