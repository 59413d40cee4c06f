"""Chat templates: what transformers writes for good ones, and nothing that could differ between nodes."""

import datetime
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate.errors import PipelineError
from crynux_validate.pipelines.text.templates import rendering as templates
from crynux_validate.pipelines.text.templates import values as template_values
from tests.pipelines import chat_templates

TOOLS: list[dict[str, Any]] = [
    {"function": {"description": "It's <b>the</b> weather ", "name": "weather", "parameters": {
        "properties": {"days": {"default": 3, "type": "integer"},
                       "where": {"enum": ["sea", "land"], "items": {"type": "string"}, "type": "string"},
                       "list": {"items": {"properties": {"a": {"type": ["x", "y"]}}, "type": "object"}, "type": "array"}},
        "required": ["where"], "type": "object"}, "strict": True}, "type": "function"},
    {"function": {"name": "naïve \u2028 日本 😀", "parameters": {"properties": {}}}, "type": "function"},
]  # fmt: skip
CALL = {"function": {"arguments": {"where": "sea", "x": [1, 2.5, None, True], "y": {"z": "ü"}}, "name": "weather"},
        "id": "abcdefghi", "type": "function"}  # fmt: skip
USER = {"content": " what is the sea?\n", "role": "user"}
SAID = {"content": '<think>\nhm\n</think>\n\nIt\'s "water" <&> 水', "role": "assistant"}
TALKS: dict[str, list[dict[str, Any]]] = {
    "one": [USER],
    "system": [{"content": "be brief", "role": "system"}, USER, SAID, USER],
    "turns": [USER, SAID, USER, SAID, {"content": "日本 😀 {{ x }} {% if %}", "role": "user"}],
    "tool": [USER, {"role": "assistant", "tool_calls": [CALL]},
             {"content": "rain", "name": "weather", "role": "tool", "tool_call_id": "abcdefghi"}, SAID],
    "wrong": [SAID, SAID],
}  # fmt: skip
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
FUNCTIONS = {"strftime_now": datetime.date(2026, 1, 31).strftime}


def ours(source: str, **changes: Any) -> str:
    variables = {"messages": [USER], "tools": None, "documents": None, "add_generation_prompt": True} | TOKENS
    return templates.render(source, variables | changes, FUNCTIONS)


def theirs(source: str, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> str | None:
    """What transformers writes; None where the template refuses."""
    from jinja2 import TemplateError
    from transformers.utils import chat_template_utils

    render: Any = chat_template_utils.render_jinja_template

    class Clock:
        @staticmethod
        def now() -> datetime.date:
            return datetime.date(2026, 1, 31)

    monkeypatch.setattr(chat_template_utils, "datetime", Clock)
    messages = changes.pop("messages", [USER])
    try:
        ((text,), _) = render([messages], chat_template=source, add_generation_prompt=True, **TOKENS, **changes)
    except (TemplateError, TypeError):
        return None
    return str(text)


@pytest.mark.parametrize("family", chat_templates.BY_FAMILY)
def test_templates_of_real_models_give_what_transformers_gives(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = chat_templates.BY_FAMILY[family]
    written = 0
    for talk in TALKS.values():
        for tools in (None, TOOLS):
            expected = theirs(source, monkeypatch, messages=talk, tools=tools)
            if expected is None:
                with pytest.raises(PipelineError, match="refuses the messages"):
                    ours(source, messages=talk, tools=tools)
            else:
                assert ours(source, messages=talk, tools=tools) == expected
                written += 1
    assert written >= 4


GOOD = (
    "{% for x in 'abc' %}{{ loop.index }}{{ loop.revindex }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}"
    "{{ loop.cycle('o', 'e') }}{{ loop.changed(x) }}{% else %}none{% endfor %}",
    "{% for x in messages|map(attribute='role') %}{{ loop.length }}{{ loop.last }}{{ x }}{% endfor %}",
    "{% for x in [1, [2, [3]]] recursive %}{{ x if x is number else loop(x) }}{% endfor %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set j = joiner() %}{{ j() }}{{ j() }}",
    "{% if messages|selectattr('role', 'equalto', 'nobody') %}an iterator is true{% endif %}",
    "{% set s = messages|map(attribute='role') %}{{ s|list }}{{ s|list }}",
    "{{ [3, 1, 2]|sort|join('-') }}{{ ['b', 'A']|sort }}{{ [1, 1, 2]|unique|list }}{{ [1, 2]|sum }}{{ [[1], [2]]|sum(start=[]) }}",
    "{{ {'b': 1, 'a': 2}|dictsort }}{{ {'a': 1}.items()|list }}{{ {'a': 1}|items|list }}{{ {'a': {}}.a.get('b', 5) }}",
    "{{ [{'k': 1, 'v': 2}, {'k': 1, 'v': 3}]|groupby('k') }}{{ [1, 2, 3]|batch(2, 0)|list }}{{ [1, 2, 3]|slice(2)|list }}",
    "{{ '%s %05.1f %r %d%%' % ('a', 1.25, 'q', 3) }}{{ '{:>5} {a!r} {}'.format(1, 2, a='x') }}{{ '%s'|format([1]) }}",
    "{{ 'a,b'.split(',') }}{{ 'ab'.replace('a', 'xy') }}{{ ','.join(['a', 'b']) }}{{ 'aXb'|replace('X', '-') }}{{ 'a'.center(5) }}",
    "{{ 7 // 2 }}{{ 7 % 4 }}{{ 7 / 2 }}{{ 2 ** 10 }}{{ 1.5 + 1 }}{{ -3 }}{{ 'ab' * 2 }}{{ [1] * 2 }}{{ [1] + [2] }}{{ 1 ~ 'a' ~ none }}",
    "{{ none }}{{ true }}{{ nothing }}{{ [nothing] }}{{ 1.0 }}{{ 1e100 }}{{ 0.1 + 0.2 }}{{ (1, 2) }}{{ range(3) }}{{ range(3)|list }}",
    "{{ '3'|int }}{{ 'x'|int(7) }}{{ '0x1f'|int(0, 16) }}{{ '1.5'|float }}{{ 2.5|round }}{{ 2.567|round(2, 'floor') }}{{ -3|abs }}",
    "{{ 'a b'|title }}{{ 'abc'|upper }}{{ 'abc def'|truncate(5) }}{{ 'a\nb'|indent(2, true) }}{{ 'a b'|wordcount }}{{ '<a>'|e }}",
    "{{ 'ǅ ß ﬁ İ'.lower() }}{{ 'ǅ ß ﬁ'|upper }}{{ 'ß'.casefold() }}",
    "{{ tools|tojson(indent=2, ensure_ascii=true, sort_keys=true) }}{{ {'b': [1.0, 1e30, '</s>']}|tojson(separators=(',', ':')) }}",
    "{% macro m(a, b='d') %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{{ caller() if caller }}{% endmacro %}{{ m(1) }}{{ m(1, 2, 3, c=4) }}"
    "{% call m(1) %}inner{% endcall %}",
    "{% set x %}a{{ 1 }}b{% endset %}{{ x|length }}{% filter upper %}abc{{ x }}{% endfilter %}{% with y = 2 %}{{ y }}{% endwith %}",
    "{% block b %}in{% endblock %}{{ self.b() }}{% generation %}{% set z = 1 %}{{ z }}{% endgeneration %}{{ z }}",
    "{% set ns = namespace(a=1, b=[]) %}{% for i in range(3) %}{% set ns.b = ns.b + [i] %}{% endfor %}{{ ns.b }}{{ ns.a }}{{ dict(q=1) }}",
    "{% for i in range(5) if i is odd %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}{{ 'a' in 'abc' }}{{ 2 not in [1] }}",
    "{{ 1 < 2 < 3 }}{{ 'a' is string }}{{ messages is sequence }}{{ messages is iterable }}{{ messages[0] is mapping }}{{ x is sameas none }}",
    "{{ messages[0].keys()|list }}{{ messages[0].items() }}{{ messages[0] == messages[0] }}{{ messages[-1:] }}{{ 'abc'[::-1] }}",
    "  {%- if true %} \n  a \n{% endif %}\n\n  {# no #}\n b {{- 'c' }}\n",
)  # fmt: skip


@pytest.mark.parametrize("source", GOOD)
def test_what_the_language_offers_gives_what_transformers_gives(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = theirs(source, monkeypatch, tools=TOOLS)
    assert expected is not None
    assert ours(source, tools=TOOLS) == expected


texts = st.text(max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@given(values)
def test_any_value_is_written_as_python_and_json_write_it(value: Any) -> None:
    assert ours("{{ x }}|{{ x|string }}|{{ x ~ '' }}|{{ '%s' % [x] }}|{{ x|tojson }}", x=value) == "|".join(
        [str(value)] * 3 + [str([value]), json.dumps(value, ensure_ascii=False)]
    )


RANDOM = (
    "{{ 'abcdef'|random }}", "{{ 'abcdef' | \n random }}", "{% filter random %}abcdef{% endfilter %}",
    "{{ [['a', 'b']]|map('random')|join }}", "{{ [['a', 'b']]|map('ran' ~ 'dom')|join }}",
    "{% set x = 'random' %}{{ [['a']]|map(x)|list }}", "{% if nothing %}{{ 'a'|random }}{% endif %}",
    "{{ 'a'|string|random|upper }}", "{% set x|random %}ab{% endset %}{{ x }}", "{% for c in 'ab'|random %}{% endfor %}",
    "{{ lipsum() }}", "{{ lipsum(n=1, html=false)|length }}", "{% set l = lipsum %}{{ l() }}",
    "{{ self._TemplateReference__context.call(lipsum) }}", "{{ lipsum.__globals__ }}",
)  # fmt: skip
ADDRESSES = (
    "{{ messages[0].items }}", "{{ (messages[0].items|string)[-14:] }}", "{{ messages[0].items ~ '' }}",
    "{{ [messages[0].items] }}", "{{ [[messages[0].get]]|string }}", "{{ {'a': messages[0].get} }}",
    "{{ '%s' % messages[0].items }}", "{{ '%s'|format(messages[0].items) }}", "{{ '{}'.format(messages[0].items) }}",
    "{{ '{!r}'.format([messages[0].items]) }}", "{{ messages[0].items|length }}", "{{ messages[0].items|upper }}",
    "{{ [messages[0].items]|join }}", "{{ messages[0].items|replace('0', 'x') }}", "{{ messages[0].items|trim }}",
    "{{ messages|map('upper') }}", "{{ messages|map(attribute='role')|string }}", "{{ messages|select }}",
    "{{ [1, 2]|reverse }}", "{{ [1]|batch(1) }}", "{{ [1]|unique }}", "{{ messages[0]|items }}",
    "{{ range }}", "{{ dict }}", "{{ namespace }}", "{{ raise_exception }}", "{{ strftime_now }}", "{{ cycler }}",
    "{{ cycler('a') }}", "{{ joiner() }}", "{{ [joiner()]|string }}", "{{ self }}", "{{ namespace(a=messages[0].get) }}",
    "{% macro m() %}{% endmacro %}{{ m }}", "{% macro m() %}{{ caller }}{% endmacro %}{% call m() %}{% endcall %}",
    "{% for x in 'a' %}{{ loop }}{{ loop.cycle }}{% endfor %}", "{{ ''.join }}", "{{ 'a'.upper|lower }}",
    "{{ messages[0].items < messages[0].keys }}", "{{ [messages[0].items, messages[0].keys]|sort }}",
    "{{ messages[0].items == 1 }}", "{{ messages[0].items is lower }}", "{{ raise_exception|tojson }}",
    "{{ {messages[0].items: 1} }}", "{{ [messages[0].items]|unique|list }}", "{{ messages[0].items is sameas messages }}",
)  # fmt: skip
SETS = (
    "{{ messages[0].keys() - [] }}", "{{ (messages[0].keys() - ['x'])|list }}", "{{ (messages[0].items() - [])|first }}",
    "{{ messages[0].keys().isdisjoint }}", "{{ messages[0].keys().mapping }}", "{{ 'a'.maketrans }}",
)  # fmt: skip
MACHINE = (
    "{{ '{:n}'.format(1234567) }}", "{{ '{:n}'.format(1.5) }}", "{{ 2 ** 0.5 }}", "{{ 2.0 ** 3 }}", "{{ 2 ** -1 }}",
    "{{ ('9' * 5000)|int }}", "{{ 'a'.encode() }}", "{{ 'a'.__hash__() }}", "{{ ''.__class__.__mro__ }}",
    "{{ ''['__class__'] }}", "{{ ''|attr('__class__') }}", "{{ '{0.__class__}'.format(1) }}", "{{ '{0[0]}'.format('a') }}",
    "{{ [1]|map(attribute='__class__')|list }}", "{{ messages.__len__() }}", "{{ dict.__bases__ }}",
    "{{ range.__self__ }}", "{{ namespace(__class__=1) }}", "{{ cycler.__init__.__globals__.os }}",
    "{% include 'a' %}", "{% include 'a' ignore missing %}", "{% import 'a' as a %}", "{% from 'a' import b %}",
    "{% extends 'a' %}", "{% extends messages %}", "{{ messages.append(1) }}", "{{ messages[0].update(a=1) }}",
    "{{ messages|pprint }}", "{{ messages[0]|xmlattr }}", "{{ 'www.a.b'|urlize }}", "{{ (1).to_bytes(9) }}",
    "{% debug %}", "{% do messages %}", "{% trans %}a{% endtrans %}", "{{ gettext('a') }}", "{{ '' is sameas '' }}",
)  # fmt: skip
ENDLESS = (
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{{ range(99999)|sum }}{% endfor %}",
    "{% for i in range(99999) %}{{ range(99999)|list|length }}{% endfor %}",
    "{% for i in range(99999) %}{{ range(99999)|map('abs')|select|list|last }}{% endfor %}",
    "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}", "{% block b %}{{ self.b() }}{% endblock %}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "{% for x in [1, 1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
    "{{ range(10 ** 9) }}", "{{ 'x' * 10 ** 9 }}", "{{ 10 ** 9 * 'x' }}", "{{ [0] * 10 ** 9 }}", "{{ 10 ** 10 ** 10 }}",
    "{{ 9 ** 999 }}", "{{ '%1000000000d' % 1 }}", "{{ '%.*f' % (10 ** 9, 1) }}", "{{ '%*d'|format(10 ** 9, 1) }}",
    "{{ '{:1000000000}'.format(1) }}", "{{ '{:{w}}'.format(1, w=10 ** 9) }}", "{{ 'x'.center(10 ** 9) }}",
    "{{ 'x'.ljust(10 ** 9) }}", "{{ 'x'.zfill(10 ** 9) }}", "{{ 'x'|center(10 ** 9) }}", "{{ 'x\n'|indent(10 ** 9) }}",
    "{{ 'x\n'|indent('x' * 10 ** 6) }}", "{{ [1]|batch(10 ** 9, 0)|list }}", "{{ [1]|slice(10 ** 9)|list }}",
    "{{ [1]|tojson(indent=10 ** 9) }}", "{{ 1|round(10 ** 9, 'ceil') }}", "{{ ('x' * 10 ** 4).replace('x', 'y' * 10 ** 4) }}",
    "{{ ('x' * 10 ** 4)|replace('x', 'y' * 10 ** 4) }}", "{{ ('x' * 10 ** 4).replace('', 'y' * 10 ** 4) }}",
    "{{ ('x' * 10 ** 4).join(range(9999)|map('string')) }}", "{{ range(9999)|join('x' * 10 ** 4) }}",
    "{{ ['x' * 10 ** 6] * 9999 }}", "{{ (['x' * 10 ** 6] * 9999)|join }}", "{{ '%(a)s%(a)s%(a)s%(a)s%(a)s' % {'a': 'x' * 10 ** 6} }}",
    "{{ '{0}{0}{0}{0}{0}'.format('x' * 10 ** 6) }}",
    "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(50) %}{% set ns.x = [ns.x, ns.x] %}"
    "{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
    "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns.x }}",
    "{% for i in range(99999) %}" + "x" * 999 + "{% endfor %}", "{% set a %}{% for i in range(99999) %}" + "x" * 9999
    + "{% endfor %}{% endset %}", "{% set s = 'x' * 10 ** 6 %}{% for i in range(99999) %}{{ s[1:]|length }}{% endfor %}",
    "{% set s = 'x' * 10 ** 6 %}{% for i in range(99999) %}{{ 'y' in s }}{% endfor %}",
    "{% set s = range(99999)|list %}{% for i in range(99999) %}{{ -1 in s }}{% endfor %}",
    "{% set s = range(99999)|list %}{% for i in range(99999) %}{{ s.count(-1) }}{% endfor %}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "{% for i in [1] %}" * 60 + "{% endfor %}" * 60,
    "{{ x" + ".y" * 200_000 + " }}", "#" * 1_100_000,
)  # fmt: skip


@pytest.mark.parametrize("source", RANDOM + ADDRESSES + SETS + MACHINE)
def test_what_could_differ_between_nodes_is_refused(source: str) -> None:
    with pytest.raises(PipelineError, match="the model's chat template") as caught:
        ours(source)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("source", ENDLESS)
def test_what_takes_too_long_or_too_much_is_refused(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a smaller budget, since each takes all of it; what the limits are is said in the protocol."""
    monkeypatch.setattr(template_values, "MAX_WORK", 2**24)
    with pytest.raises(PipelineError, match="the model's chat template"):
        ours(source)


def test_a_long_conversation_stays_far_below_the_limits() -> None:
    """Half a megabyte in 5,000 messages costs every template less than a fifth of the budget."""
    talk = [
        {"content": f"{number} " + "what is the sea? " * 6, "role": ("user", "assistant")[number % 2]}
        for number in range(5_001)
    ]
    budget = template_values.MAX_WORK
    for family, source in chat_templates.BY_FAMILY.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(template_values, "MAX_WORK", budget // 5)
            assert "5000 what is the sea?" in ours(source, messages=talk), family


def test_the_same_text_in_a_process_that_hashes_in_another_way() -> None:
    """Texts do not depend on the seed of Python's hashes, the language, the time zone or limits of Python's."""
    program = (
        "import json\nfrom tests.pipelines import test_templates as t\n"
        "print(json.dumps([t.ours(source, tools=t.TOOLS) for source in t.GOOD]))"
    )
    settings = {"PYTHONHASHSEED": "1", "LC_ALL": "C", "TZ": "Asia/Tokyo", "PYTHONINTMAXSTRDIGITS": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ | settings
    )
    assert json.loads(done.stdout) == [ours(source, tools=TOOLS) for source in GOOD]
