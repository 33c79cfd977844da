"""What policies of others may call: built-ins in which the embedded engine was found equal to OPA, and those refused.

Found by asking OPA 1.22 and the embedded engine the same 9,000 calls (each built-in on texts, numbers, lists, sets and
objects that suit it and that do not). A name is here when both gave the same value wherever both gave one; those marked
in `policy.adapters.foreign_calls` are answered by code of our own, since the engine's own answers differ.
"""

from __future__ import annotations

from collections.abc import Mapping

_BY_ARITY: Mapping[int, str] = {
    0: "time.now_ns",
    1: """
abs ceil floor round count max min product sum sort all any array.reverse intersection union object.keys
object.union_n lower upper strings.reverse trim_space to_number is_array is_boolean is_null is_number is_object is_set
is_string type_name json.is_valid json.marshal json.unmarshal yaml.unmarshal base64.decode base64.encode
base64.is_valid base64url.decode base64url.encode base64url.encode_no_pad hex.decode hex.encode crypto.md5 crypto.sha1
crypto.sha256 semver.is_valid regex.is_valid net.cidr_is_valid time.parse_rfc3339_ns time.parse_duration_ns time.clock
time.date time.weekday uuid.parse units.parse units.parse_bytes trace
""",
    2: """
array.concat bits.and bits.or bits.xor concat contains endswith startswith format_int indexof sprintf split trim
trim_left trim_prefix trim_right trim_suffix object.filter object.remove object.subset object.union
strings.any_prefix_match strings.any_suffix_match strings.count strings.replace_n regex.match re_match regex.split
semver.compare json.patch net.cidr_contains net.cidr_intersects numbers.range time.parse_ns time.diff graph.reachable
""",
    3: "array.slice object.get replace substring glob.match regex.replace regex.find_n",
}
ARITY: Mapping[str, int] = {name: count for count, names in _BY_ARITY.items() for name in names.split()} | {"print": -1}
"""Each trusted built-in with the number of its arguments; -1: any."""
REFUSED: Mapping[str, str] = {
    "http.send": "it opens a network connection while judging",
    "net.lookup_ip_addr": "it opens a network connection while judging",
    "opa.runtime": "it reads the environment of the engine, secrets included",
    "external_data": "it asks a provider over the network while judging; put what it would answer into the declaration",
    "rand.intn": "a decision may not depend on chance",
    "uuid.rfc4122": "a decision may not depend on chance",
}
