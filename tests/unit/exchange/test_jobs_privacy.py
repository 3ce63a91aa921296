"""Privacy of grouped sums: what a step spends, how much noise it takes, and what is refused."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest

from exchange.errors import InvalidRequest
from exchange.jobs import noise
from exchange.jobs.joint_statistics import COMPONENT
from exchange.jobs.privacy import Bounds, Privacy
from exchange.jobs.registry import built_in
from exchange.jobs.spec import JobSpec
from exchange.jobs.testing import example_spec
from ledger.rules.budgets import ORDERS, epsilon

PRIVACY = {
    "mechanism": "laplace",
    "epsilon_micro": 1_000_000,
    "delta_exponent": 6,
    "bounds": {"default": {"lower": "0", "upper": "1"}},
}


def private_spec(**changes: Any) -> JobSpec:
    value = example_spec()
    value["steps"][1]["params"]["privacy"] = PRIVACY | changes
    return JobSpec.from_json(value)


def of(mechanism: str, epsilon_micro: int = 1_000_000) -> Privacy:
    return Privacy(mechanism, epsilon_micro, 6, {"x": Bounds("-3", "2")})  # type: ignore[arg-type]  # a word


@pytest.mark.parametrize("micro", [200_000, 1_000_000, 5_000_000])
def test_gaussian_noise_spends_almost_all_of_its_epsilon_and_no_more(micro: int) -> None:
    privacy = of("gaussian", micro)
    assert 0.99 * micro < epsilon(privacy.loss(2), 6) <= micro
    rho = privacy.rho_micro() / 1e6
    assert privacy.scales((1, 3))[1] == pytest.approx(3 * math.sqrt(2 / (2 * rho)))


@pytest.mark.parametrize("parts", [1, 2, 17])
def test_laplace_noise_never_costs_more_than_pure_epsilon(parts: int) -> None:
    privacy = of("laplace")
    loss = privacy.loss(parts)
    assert all(0 < one <= 1_000_000 for one in loss)
    part = 1 / parts
    for order, one in zip(ORDERS, loss, strict=True):
        a = order / 4
        inner = a / (2 * a - 1) + (a - 1) / (2 * a - 1) * math.exp(part * (1 - 2 * a))
        exact = part + math.log(inner) / (a - 1)  # Mironov 2017, proposition 6, e^(a - 1) taken out
        assert one / 1e6 >= parts * exact - 1e-9
    assert privacy.scales((3,) * parts)[0] == pytest.approx(3 * parts)


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
def test_opendp_accounts_no_more_than_what_is_spent(mechanism: str) -> None:
    privacy = of(mechanism)
    drawn = noise.draw(privacy, (1, 3, 1000), 5)
    assert drawn.shape == (5, 3)


def test_a_step_without_privacy_is_exact_and_one_with_it_states_its_loss() -> None:
    exact = JobSpec.from_json(example_spec())
    assert COMPONENT.spends(exact.step("stats")) is None
    spec = private_spec()
    built_in().check(spec)
    assert COMPONENT.spends(spec.step("stats")) == of("laplace").loss(2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mechanism": "cauchy"}, "mechanism"),
        ({"epsilon_micro": 0}, "epsilon_micro"),
        ({"epsilon_micro": -1}, "epsilon_micro"),
        ({"epsilon_micro": 1.5}, "epsilon_micro"),
        ({"mechanism": "gaussian", "epsilon_micro": 1}, "epsilon_micro"),
        ({"delta_exponent": 0}, "delta_exponent"),
        ({"bounds": {}}, "bounds"),
        ({"bounds": {"other": {"lower": "0", "upper": "1"}}}, "bounds"),
        ({"bounds": {"default": {"lower": "1", "upper": "1"}}}, "bounds"),
        ({"bounds": {"default": {"lower": "0", "upper": "0.5"}}}, "upper"),
        ({"bounds": {"default": {"lower": "0", "upper": "1e9"}}}, "upper"),
        ({"bounds": {"default": {"lower": "0", "upper": "999999999999999"}}, "epsilon_micro": 1}, "scale"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_odd_privacy_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        built_in().check(private_spec(**changes))


def test_without_opendp_a_private_step_is_refused_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opendp", None)
    monkeypatch.setitem(sys.modules, "opendp.prelude", None)
    with pytest.raises(noise.NoiseUnavailable, match=r"parley-exchange\[dp\]"):
        noise.draw(of("laplace"), (1, 3), 2)
