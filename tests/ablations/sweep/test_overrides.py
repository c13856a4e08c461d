"""Whatever somebody types: it is read, or refused with something that can be pasted and says the same."""

from __future__ import annotations

import re
import shlex

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ablations.sweep.keys import keys
from ablations.sweep.overrides import parse, parse_overrides, plain_value, typed, values_of
from lightning_module.support.errors import ConfigError

ODD = st.text(st.sampled_from("ab1/\\\"'()[]{}:=,.#~é;$&|*? +-_@%!^`<>"), max_size=12)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(ODD)
@example("a\\")
@example('\\"')
@example("null")
@example("1e3")
@example(" a ")
@example("a,b")
@example("range(1,3)")
def test_a_value_is_typed_so_that_it_is_read_as_it_was(value):
    assert plain_value(typed("runs", value)) == value


@settings(derandomize=True, max_examples=700, deadline=None)
@given(
    st.sampled_from(
        ["runs=", "model.depth=", "recipe.drops=", "data=", "", "+", "~", "lr=", "model..depth="]
    ),
    ODD,
)
def test_what_cannot_be_read_is_one_sentence_with_something_to_paste(key, value):
    text = key + value
    try:
        override = parse(text)
    except ConfigError as error:
        said = str(error)
        assert "\n" not in said
        assert not re.search("Exception|EOF|viable|mismatched|WS", said.replace(text, "")), said
        character = re.search(r"cannot be read: (.) at character (\d+)", said)
        assert not character or text[int(character[2]) - 1] == character[1]
        pasted = re.search(r"cannot be read: .*; write (.*)$", said)
        if pasted:
            (word,) = shlex.split(pasted[1])
            again = parse(word)
            if key == "runs=" and not value.startswith("~"):
                assert again.value() == value
    else:
        if not override.is_interval_sweep() and "range" not in text and "glob" not in text:
            assert values_of(override)


@pytest.mark.parametrize("key", sorted(keys()))
def test_every_key_of_conf_is_typed_as_it_stands_there(key):
    (override,) = parse_overrides([typed(key, keys()[key])])
    assert override.key_or_group == key
