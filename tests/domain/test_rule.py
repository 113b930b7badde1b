"""Which calls an approval rule decides about."""

from __future__ import annotations

import fnmatch
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awaken.domain.agent import Approval, ToolSpec
from awaken.domain.rule import ApprovalRule, Effect, Equals, Glob, Prefix, deciding, fits, glob

NOW = 1_000
PAY = ToolSpec(name="pay", approval=True)


def rule(**fields: Any) -> ApprovalRule:
    given = {"tool": "pay", "effect": Effect.allow, "created_by": "ann", **fields}
    return ApprovalRule(
        tenant="t",
        rule_id=fields.get("rule_id", "r"),
        created_at=1,
        **{name: value for name, value in given.items() if name != "rule_id"},
    )


@pytest.mark.parametrize(
    ("pattern", "value", "fitting"),
    [
        (Equals(value=5), 5, True),
        (Equals(value=5), "5", False),
        (Equals(value=1), True, False),
        (Equals(value=True), 1, False),
        (Equals(value=None), None, True),
        (Equals(value={"a": 1, "b": [2]}), {"b": [2], "a": 1}, True),
        (Equals(value=[1, 2]), [2, 1], False),
        (Prefix(text="/tmp/"), "/tmp/x", True),
        (Prefix(text="/tmp/"), "/tmpx", False),
        (Prefix(text="1"), 12, False),
        (Glob(text="*.example.com"), "a.example.com", True),
        (Glob(text="*.example.com"), "example.com.evil.org", False),
        (Glob(text="a?c"), "abc", True),
        (Glob(text="a?c"), "ac", False),
        (Glob(text="A*"), "abc", False),
        (Glob(text="*"), 5, False),
    ],
)
def test_a_pattern_fits_what_it_says_and_no_other_type(
    pattern: Any, value: Any, fitting: bool
) -> None:
    assert fits(rule(arguments={"x": pattern}), {"x": value}) is fitting


@given(
    pattern=st.text("ab*?", max_size=8),
    text=st.text("ab\n", max_size=10),
)
def test_a_glob_fits_as_the_shell_has_it(pattern: str, text: str) -> None:
    assert glob(pattern, text) is (re.match(fnmatch.translate(pattern), text) is not None)


def test_a_glob_of_many_stars_ends_soon() -> None:
    assert not glob("*a" * 500 + "b", "a" * 20_000)


def test_each_argument_that_is_named_must_be_there_and_others_only_if_they_may() -> None:
    named = {"order": Equals(value="17")}
    assert not fits(rule(arguments=named), {})
    assert fits(rule(arguments=named), {"order": "17", "amount": 1_000_000})
    assert not fits(rule(arguments=named, others=False), {"order": "17", "amount": 1})
    assert fits(rule(others=False), {})
    assert not fits(rule(), "no object")


def decided(*rules: ApprovalRule, tool: ToolSpec = PAY, agent: str = "a") -> str | None:
    found = deciding(rules, agent, tool, {"amount": 5}, NOW)
    return None if found is None else found.rule_id


def test_one_that_denies_goes_before_all_that_allow() -> None:
    allow, deny = rule(rule_id="allow"), rule(rule_id="deny", effect=Effect.deny)
    assert decided(allow, deny) == decided(deny, allow) == "deny"
    assert decided(allow) == "allow"
    assert decided() is None


def test_a_rule_is_about_its_tool_its_agent_and_its_time() -> None:
    assert decided(rule(tool="other")) is None
    assert decided(rule(agent_id="a")) == "r"
    assert decided(rule(agent_id="b")) is None
    assert decided(rule(expires_at=NOW)) is None
    assert decided(rule(expires_at=NOW + 1)) == "r"


def test_where_approvers_are_named_only_their_rules_count() -> None:
    tool = ToolSpec(name="pay", approval=True, approvers=("ann",))
    assert decided(rule(), tool=tool) == "r"
    for effect in Effect:
        assert decided(rule(created_by="eve", effect=effect), tool=tool) is None


def test_no_rule_stands_for_a_quorum_but_one_denies_as_one_person_would() -> None:
    tool = ToolSpec(name="pay", approval=True, approval_policy=Approval(quorum=2))
    assert decided(rule(), tool=tool) is None
    assert decided(rule(effect=Effect.deny), tool=tool) == "r"
