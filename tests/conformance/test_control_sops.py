"""Files that the real SOPS (3.13.3) encrypted for age keys: opened to what went in, and never when they were altered.

`sops/NAME.yaml` went in; NAME.all.yaml is `sops --encrypt --age RECIPIENT`, NAME.regex.yaml has `--encrypted-regex
'^(data|stringData)$'`, maconly `--mac-only-encrypted` too, two-keys two recipients, groups a key that three groups
share (the two age keys, and one at Google) of which two are needed. The keys are for these tests alone.
"""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from customhouse.control.adapters.age import AgeError, Identity, identities, opened
from customhouse.control.adapters.sops import SealedFile, SopsOpener, plaintexts
from customhouse.control.sealed import is_sealed, mac_of
from customhouse.core.errors import CannotDecideError

FOLDER = Path(__file__).with_name("sops")
KEYS = identities((FOLDER / "age.txt").read_text())
OTHER = identities((FOLDER / "age-other.txt").read_text())
SEALED = ["secret.all", "secret.maconly", "secret.regex", "secret.two-keys", "two.all", "two.regex", "types.all"]
CANARY = "canary-7f3a-password"


def documents(name: str) -> list[dict[str, Any]]:
    place = FOLDER / name
    if place.suffix == ".json":
        return [json.loads(place.read_text())]
    return list(yaml.safe_load_all(place.read_text()))


def opener(name: str, data: bytes, keys: tuple[Identity, ...] = KEYS) -> SopsOpener:
    return SopsOpener({mac_of(item): SealedFile(name, lambda: data) for item in documents(name)}, keys)


@pytest.mark.parametrize("name", [*(f"{name}.yaml" for name in SEALED), "json.regex.json"])
def test_what_sops_encrypted_is_opened_to_what_went_in(name: str) -> None:
    found = opener(name, (FOLDER / name).read_bytes())
    went_in = documents(re.sub(r"\..*(?=\.)", "", name))
    assert [found.opened(item) for item in documents(name)] == went_in
    assert not is_sealed(went_in[0])
    assert found.opened(went_in[0]) == went_in[0]


def refused(name: str, data: bytes, keys: tuple[Identity, ...] = KEYS) -> CannotDecideError:
    with pytest.raises(CannotDecideError) as caught:
        list(plaintexts(name, data, keys))
    assert CANARY not in str(caught.value)
    assert not any(key.secret.hex() in repr(caught.value) for key in keys)
    return caught.value


def test_no_key_the_wrong_key_and_either_of_two() -> None:
    data = (FOLDER / "secret.regex.yaml").read_bytes()
    for keys in ((), OTHER):
        error = refused("secret.regex.yaml", data, keys)
        assert "age12g69fzr80kwf9lzdzr646q03093l85ec2yfqgndtrdyppzm644js7fravy" in str(error)
        assert "SOPS_AGE_KEY_FILE" in str(error)
    both = (FOLDER / "secret.two-keys.yaml").read_bytes()
    for keys in (KEYS, OTHER):
        assert CANARY in dict(plaintexts("secret.two-keys.yaml", both, keys)).values()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: database", "name: elsewhere"),
        ("team: risk", "team: other"),
        ("type: Opaque", "type: Opaque\nimmutable: true"),
        ('empty: ""', "empty: full"),
        ("    password: ", "    passwort: "),
        ('lastmodified: "2026', 'lastmodified: "2025'),
        ("mac: ENC[", "mac: xENC["),
        ("    age:\n", "    age: []\n    rest:\n"),
        ("sops:", "sops:\n    shamir_threshold: 2"),
        ("sops:", "sops:\n    mac_only_encrypted: true"),
    ],
)
def test_an_edited_file_gives_nothing_out(old: str, new: str) -> None:
    text = (FOLDER / "secret.regex.yaml").read_text()
    assert old in text
    refused("secret.regex.yaml", text.replace(old, new, 1).encode())


def test_values_that_change_places_or_leave_are_noticed() -> None:
    text = (FOLDER / "secret.regex.yaml").read_text()
    values = re.findall(r"^    (?:password|number): (ENC\S+)$", text, re.MULTILINE)
    swapped = text.replace(values[0], "@").replace(values[1], values[0]).replace("@", values[1])
    assert "altered or moved" in str(refused("secret.regex.yaml", swapped.encode()))
    gone = re.sub(r"(?m)^    number: .*\n", "", text)
    assert "authentication code" in str(refused("secret.regex.yaml", gone.encode()))
    plain = re.sub(r"(?m)^    number: .*$", '    number: "42"', text)
    # As SOPS sees it too: the same value, no longer encrypted. It is in Git now, and the gate finds it there.
    assert CANARY in dict(plaintexts("secret.regex.yaml", plain.encode(), KEYS)).values()
    two = (FOLDER / "two.regex.yaml").read_text()
    refused("two.regex.yaml", two.partition("\n---\n")[2].encode())


def test_every_flipped_character_of_values_codes_and_keys_is_noticed() -> None:
    text = (FOLDER / "secret.regex.yaml").read_text()
    places = [match.start() for match in re.finditer(r"[A-Za-z0-9+/](?=[A-Za-z0-9+/=]{3})", text)]
    begin, end = text.index("password: ENC"), text.index("lastmodified")
    tried = 0
    # The last letter of base64 may have bits that mean nothing: those are left out by the look ahead above.
    for at in [place for place in places if begin < place < end and _is_base64(text, place)][::5]:
        altered = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
        refused("secret.regex.yaml", altered.encode())
        tried += 1
    assert tried > 100


def _is_base64(text: str, at: int) -> bool:
    line = text[text.rfind("\n", 0, at) + 1 : text.find("\n", at)]
    inside = line.strip()
    if "ENC[" not in line:
        return re.fullmatch(r"[A-Za-z0-9+/=]{20,}", inside) is not None
    if "#ENC" in line:
        return False  # a comment is not part of the object
    column = at - (text.rfind("\n", 0, at) + 1)
    head = line[:column]
    return "ENC[AES256_GCM,data:" in head and re.search(r"(data|iv|tag):[A-Za-z0-9+/=]*$", head) is not None


def test_an_object_is_opened_by_the_file_that_it_comes_from_alone() -> None:
    name = "secret.regex.yaml"
    found = opener(name, (FOLDER / name).read_bytes())
    (item,) = documents(name)
    strange: Mapping[str, Any] = {**item, "stringData": {"a": documents("two.regex.yaml")[0]["stringData"]["a"]}}
    with pytest.raises(CannotDecideError, match="is not in its file"):
        found.opened(strange)
    with pytest.raises(CannotDecideError, match="not known"):
        found.opened(documents("two.regex.yaml")[0])
    # A transformer may rename it: what is encrypted is the same.
    renamed = {**item, "metadata": {"name": "prefix-database"}}
    assert found.opened(renamed)["stringData"]["password"] == CANARY


@pytest.mark.parametrize(
    "text",
    [
        "AGE-SECRET-KEY-1",
        "age12g69fzr80kwf9lzdzr646q03093l85ec2yfqgndtrdyppzm644js7fravy",
        "AGE-PLUGIN-YUBIKEY-1QQQQQQQQQQQQ",
        "garbage",
        "AGE-SECRET-KEY-1" + "Q" * 58,
        "AGE-secret-KEY-1QQQQQQ",
    ],
)
def test_what_is_no_identity_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(AgeError) as caught:
        identities(f"# a comment\n\n{text}\n")
    assert str(caught.value).startswith("line 3")
    assert text[-8:] not in str(caught.value) or len(text) < 20


def test_a_broken_age_file_is_an_error_and_never_another_key() -> None:
    sealed = documents("secret.regex.yaml")[0]["sops"]["age"][0]["enc"]
    assert opened(sealed, KEYS) is not None
    assert opened(sealed, OTHER) is None
    for broken in ("", "x", sealed.replace("BEGIN", "BEGINS"), sealed[:200] + sealed[210:], sealed.replace("A", "!")):
        with pytest.raises(AgeError):
            opened(broken, KEYS)


def test_a_shared_key_is_put_together_of_as_many_groups_as_are_needed_and_of_no_fewer() -> None:
    name = "secret.groups.yaml"
    data = (FOLDER / name).read_bytes()
    assert opener(name, data, (*KEYS, *OTHER)).opened(documents(name)[0]) == documents("secret.yaml")[0]
    for keys in ((), KEYS, OTHER):
        said = str(refused(name, data, keys))
        assert f"2 of its 3 key groups are needed, and {len(keys)} opened" in said
    both = (*KEYS, *OTHER)
    text = data.decode()
    for old, new in (
        ("shamir_threshold: 2", "shamir_threshold: 3"),
        ("shamir_threshold: 2", "shamir_threshold: many"),
        # One group twice is not two of them.
        (
            re.findall(r"(?s)        - age:\n.*?hc_vault: \[\]\n", text)[1],
            re.findall(r"(?s)        - age:\n.*?\]\n", text)[0],
        ),
    ):
        assert old in text
        refused(name, text.replace(old, new).encode(), both)
    # Whatever the file says of how many are needed: with less than that the code does not fit.
    for fewer in ("1", "0"):
        refused(name, text.replace("shamir_threshold: 2", f"shamir_threshold: {fewer}").encode(), KEYS)


def test_a_value_that_is_not_of_its_type_is_told_without_it_also_in_a_traceback() -> None:
    data = (FOLDER / "secret.regex.yaml").read_bytes()
    for kind in (b"int", b"float", b"bool", b"time"):
        error = refused("secret.regex.yaml", data.replace(b",type:str]", b",type:" + kind + b"]", 2))
        assert f"a value is no {kind.decode()}" in str(error)
        assert (error.__cause__, error.__context__) == (None, None)
        assert CANARY not in "".join(traceback.format_exception(error))
