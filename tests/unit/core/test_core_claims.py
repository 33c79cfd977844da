"""What device claims ask for, as far as an expression says it for sure."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from customhouse.core.claims import Said, device_class, device_needs
from customhouse.core.errors import DeclarationError

A100 = """device.attributes["gpu.nvidia.com"].productName == "NVIDIA A100-SXM4-40GB" """
PART = """device.attributes['gpu.nvidia.com'].profile == '1g.5gb'"""


def claim(*requests: dict[str, Any], template: bool = False) -> dict[str, Any]:
    spec: dict[str, Any] = {"devices": {"requests": list(requests)}}
    kind = "ResourceClaimTemplate" if template else "ResourceClaim"
    return {"apiVersion": "resource.k8s.io/v1", "kind": kind, "spec": {"spec": spec} if template else spec}


def wanted(*expressions: str, name: str = "gpu.nvidia.com", **more: Any) -> dict[str, Any]:
    return {"deviceClassName": name, "selectors": [{"cel": {"expression": one}} for one in expressions], **more}


def exactly(*expressions: str, **more: Any) -> dict[str, Any]:
    return {"name": "gpu", "exactly": wanted(*expressions, **more)}


@pytest.mark.parametrize(
    ("request_", "name", "cards"),
    [
        (exactly(A100, count=2), "A100-40GB", Fraction(2)),
        (exactly(A100 + " && " + PART, count=3), "A100-40GB", Fraction(3, 7)),
        (exactly(A100, PART, name="mig.nvidia.com"), "A100-40GB", Fraction(1, 7)),
        (exactly(A100, name="mig.nvidia.com"), "A100-40GB", None),
        (exactly(A100, PART.replace("1g.5gb", "9g.99gb")), "A100-40GB", None),
        (exactly(PART, name="mig.nvidia.com"), "unknown", None),
        (exactly(A100 + " || true"), "unknown", Fraction(1)),
        (exactly(A100 + " ? true : true"), "unknown", Fraction(1)),
        (exactly("!(" + A100 + ")"), "unknown", Fraction(1)),
        (exactly("device.attributes['x'].productName.lowerAscii().matches('^.*a100.*$')"), "A100-40GB", Fraction(1)),
        (exactly("device.attributes['x'].productName.matches('A100|H100')"), "unknown", Fraction(1)),
        (exactly("(" + A100 + " && device.driver == 'x')"), "A100-40GB", Fraction(1)),
        (exactly("(" + A100 + ") == false"), "unknown", Fraction(1)),
        (exactly("(" + A100 + " && true) == (false)"), "unknown", Fraction(1)),
        (exactly(A100 + " == false"), "unknown", Fraction(1)),
        (exactly("[" + A100 + "].size() == 1"), "unknown", Fraction(1)),
        (exactly("'x' == 'x && " + A100 + " && x'"), "unknown", Fraction(1)),
        (exactly("true // && " + A100), "unknown", Fraction(1)),
        (exactly('"""x" && ' + A100 + ' && "y""" < "z"'), "unknown", Fraction(1)),
        # A10 is in A100 and A10G too, L4 in L40S, and this pattern is of any name with a T in it.
        (exactly("device.attributes['x'].productName.contains('A10')"), "unknown", Fraction(1)),
        (exactly("device.attributes['x'].productName.matches('L4')"), "unknown", Fraction(1)),
        (exactly("device.attributes['x'].productName.matches('[T4]')"), "unknown", Fraction(1)),
        (exactly(A100, allocationMode="All"), "unknown", Fraction(1)),
        (exactly(A100, adminAccess=True), "A100-40GB", Fraction(0)),
        (exactly(A100, capacity={"requests": {"memory": "10Gi"}}), "A100-40GB", None),
        (wanted(A100), "A100-40GB", Fraction(1)),  # v1beta1
    ],
)
def test_a_request_names_its_card_or_is_unknown(request_: dict[str, Any], name: str, cards: Fraction | None) -> None:
    for template in (False, True):
        (need,) = device_needs(claim(request_, template=template))
        assert (need.name, need.cards) == (name, cards)


def test_the_selectors_of_the_class_hold_too() -> None:
    spec = {"selectors": [{"cel": {"expression": A100}}, {"cel": {"expression": PART}}]}
    classes = {"team": device_class({"kind": "DeviceClass", "spec": spec}), "blank": Said()}
    (need,) = device_needs(claim(exactly(name="team")), classes)
    assert (need.name, need.cards) == ("A100-40GB", Fraction(1, 7))
    (own,) = device_needs(claim(exactly(PART.replace("1g.5gb", "3g.20gb"), name="team")), classes)
    assert own.cards == Fraction(1, 2)
    (unsaid,) = device_needs(claim(exactly(name="blank")), classes)
    assert unsaid.name == "unknown"
    (priced,) = device_needs(claim(exactly(name="own.example")), classes)
    assert priced.name == "own.example"  # a class that nobody declares here may have a price of its own


def test_alternatives_are_kept_in_their_order() -> None:
    h100 = A100.replace("A100-SXM4-40GB", "H100 80GB HBM3")
    (need,) = device_needs(claim({"name": "gpu", "firstAvailable": [wanted(A100), wanted(h100, count=2)]}))
    assert (need.name, [(other.name, other.count) for other in need.others]) == ("A100-40GB", [("H100", 2)])


@pytest.mark.parametrize(
    "broken",
    [
        {"requests": [1]},
        {"requests": [{"name": "a", "exactly": wanted(count="many")}]},
        {"requests": [{"name": "a", "exactly": {"deviceClassName": 7}}]},
        {"requests": [{"name": "a", "exactly": {"deviceClassName": "x", "selectors": [{"cel": {}}]}}]},
        {"requests": [{"name": "a", "firstAvailable": ["x"]}]},
        {"requests": "all"},
    ],
)
def test_what_cannot_be_read_is_refused_where_it_stands(broken: Any) -> None:
    with pytest.raises(DeclarationError) as caught:
        device_needs({"spec": {"devices": broken}})
    assert caught.value.where.startswith("/spec/devices")
