"""Averages of weights: the mean of every tensor, shares, refusals, and a card that names every member."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dermomamba import weights
from dermomamba.errors import WeightsError
from dermomamba.learning.soup import average, averaged_card, greedy
from dermomamba.model_card import render
from dermomamba.network import DermoMamba


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[weights.Weights]:
    folder: Path = tmp_path_factory.mktemp("members")
    card = weights.load().card
    for number in range(2):
        torch.manual_seed(number)
        network = DermoMamba((32, 64))
        own = card | {"name": f"m{number}", "image_size": [32, 64], "data": [card["data"][0] | {"source": f"{number}"}]}
        weights.save(folder / f"m{number}.safetensors", network.state_dict(), own)
    return [weights.load(folder / f"m{number}.safetensors") for number in range(2)]


def test_equal_shares_give_the_mean(members: list[weights.Weights]) -> None:
    found = average(members)
    for name, tensor in found.items():
        a, b = (member.state_dict[name] for member in members)
        torch.testing.assert_close(tensor, (a + b) / 2 if tensor.is_floating_point() else a)
    weights.check(found, (32, 64))


def test_shares_need_not_add_up(members: list[weights.Weights]) -> None:
    found = average(members, [1, 3])["stem.weight"]
    a, b = (member.state_dict["stem.weight"] for member in members)
    torch.testing.assert_close(found, 0.25 * a + 0.75 * b)


def test_one_member_stays_as_it_is(members: list[weights.Weights]) -> None:
    for name, tensor in average(members[:1]).items():
        assert torch.equal(tensor, members[0].state_dict[name]), name


def test_what_does_not_fit_is_refused(members: list[weights.Weights]) -> None:
    for wrong in ([], [1.0], [1.0, 0.0]):
        with pytest.raises(WeightsError, match="share above 0"):
            average(members if wrong else [], wrong or None)
    with pytest.raises(WeightsError, match="different sizes"):
        average([members[0], weights.load()])


def near(numbers: list[float]) -> list[weights.Weights]:
    """Members of one weight each."""
    return [weights.Weights(str(x), {"stem.weight": torch.tensor([x])}, {}, "", (32, 64)) for x in numbers]


def value(tensors: dict[str, torch.Tensor]) -> float:
    return float(tensors["stem.weight"].flatten()[0])


def test_a_greedy_average_keeps_what_helps() -> None:
    given = near([3.0, -1.0, 5.0, 1.2])  # the nearer to 0 the better
    chosen, alone, path = greedy(given, lambda tensors: -abs(value(tensors)))
    assert alone == pytest.approx([-3, -1, -5, -1.2])
    assert [value(m.state_dict) for m in chosen] == pytest.approx([-1, 1.2])  # then 3 and 5 only take it away from 0
    assert path == pytest.approx([-1, -0.1, -0.1, -0.1])
    assert value(average(chosen)) == pytest.approx(0.1)


@given(numbers=st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=5))
def test_a_greedy_average_is_never_worse_than_its_best_member(numbers: list[float]) -> None:
    chosen, alone, path = greedy(near(numbers), lambda tensors: -abs(value(tensors)))
    assert path == sorted(path)
    assert path[0] == max(alone)
    assert -abs(value(average(chosen))) == pytest.approx(path[-1], abs=1e-5)


def test_a_greedy_average_refuses_what_does_not_fit(members: list[weights.Weights]) -> None:
    for wrong in ([], [members[0], weights.load()]):
        with pytest.raises(WeightsError):
            greedy(wrong, lambda tensors: pytest.fail("nothing is judged"))


def test_the_card_names_every_member_and_all_data(members: list[weights.Weights]) -> None:
    card = averaged_card(members, [1, 3], "both", "Two of them.", {"n": 3, "protocol": "p", "iou": 0.5, "dice": 0.6})
    assert [m["share"] for m in card["averaged_from"]] == [0.25, 0.75]
    assert [m["sha256"] for m in card["averaged_from"]] == [m.sha256 for m in members]
    assert [s["source"] for s in card["data"]] == ["0", "1"]
    page = render(card)
    for part in ("# both", "share 25%", "share 75%", "m0", "m1", "0.5000", card["notice"]):
        assert part in page


def test_a_card_says_what_weights_from_an_average_went_on_from(members: list[weights.Weights]) -> None:
    first = members[0].card
    ancestor = averaged_card(members, None, "both", "Two.", {"n": 3, "protocol": "p", "iou": 0.5, "dice": 0.6})
    card = (
        first
        | {"started_from": ancestor | {"sha256": "ab" * 32}}
        | {"trained_on": first["averaged_from"][0]["trained_on"]}
    )
    card |= {key: first["averaged_from"][0][key] for key in ("recipe", "curve", "validation")}
    card.pop("averaged_from")
    page = render(card | {"trained_on": card["trained_on"] | {"machine": "CPU"}})
    assert "Before that, from which it went on (both, sha256 abababababab):\n\n- the mean of 2 sets of weights" in page
    assert ", fp32, EMA" in page
    assert "The first of them" not in page
    trained = {key: card[key] for key in ("trained_on", "recipe", "curve", "validation")}
    trained["started_from"] = {"name": "grandmother", "sha256": "cd" * 32} | trained
    card["started_from"]["averaged_from"][0] |= trained
    page = render(card)
    assert f"The first of them (m0, sha256 {members[0].sha256[:12]}):" in page
    assert "Before that, from which it went on (grandmother, sha256 cdcdcdcdcdcd):" in page


def test_what_goes_on_from_an_average_is_told_of_its_members(members: list[weights.Weights]) -> None:
    card = averaged_card(members, None, "both", "Two.", {"n": 3}) | {"evaluations": [{"label": "e"}]}
    both = weights.Weights("both", members[0].state_dict, card, "ab", (32, 64))
    assert [m["name"] for m in both.origin()["averaged_from"]] == ["m0", "m1"]
    assert both.origin()["sha256"] == "ab"
    assert "evaluations" not in both.origin()
    assert both.origin("evaluations")["evaluations"] == card["evaluations"]
