"""Templates as strangers write them: where they come from, what they may not do, where masks lie."""

import json
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stead.core.errors import DataError, ModelError, SteadError, UnsafeError
from stead.data.template import ChatTemplate
from stead.messages import Message, TextPart, ToolCall

CHAT = (Message("user", "q"), Message("assistant", "a"))
SPECIALS = frozenset({"<|im_start|>", "<|im_end|>"})


def render(source: str) -> str:
    return ChatTemplate(source).render(CHAT)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''['__class__'] }}",
        "{{ messages.__class__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ lipsum() }}",
        "{{ ''|attr('__class__') }}",
        "{{ messages|map(attribute='__class__')|list }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ ('{0.' ~ '__class__}').format(1) }}",
        "{% set f = '{:>99999999999}'.format %}{{ f(1) }}",
        "{{ '%99999999999d' % 1 }}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% from 'x' import y %}",
        "{% extends 'x' %}",
        "{{ self.__init__ }}",
        "{{ raise_exception.__globals__ }}",
        "{{ range.__self__ }}",
        "{% set ns = namespace() %}{% set ns._x = 1 %}",
        "{{ namespace(_x=1) }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'x'}) }}",
        "{{ dict.mro() }}",
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_injection_is_refused_with_a_typed_error(source, wrapped):
    source = "{% for m in messages %}" + source + "{% endfor %}" if wrapped else source

    with pytest.raises((UnsafeError, DataError)) as caught:
        render(source)

    assert caught.value.code in ("template-unsafe", "template-broken", "template-refused")


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(10**9) %}x{% endfor %}",
        "{{ range(10**9)|list }}",
        "{% for a in range(99) %}{% for b in range(99) %}{% for c in range(99) %}{% endfor %}{% endfor %}{% endfor %}",
        "{{ 'a' * 10**10 }}",
        "{{ 10**10 * 'a' }}",
        "{{ [1] * 10**10 }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x={}) %}{% for i in range(99) %}{% set ns.x = {1: ns.x, 2: ns.x} %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x={}) %}{% for i in range(99) %}{% set ns.x = dict(a=ns.x, b=ns.x) %}{% endfor %}{{ ns.x ~ 'a' }}",
        "{{ 9 ** (9 ** 9) }}",
        "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x]|join %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x.replace('a', ns.x) %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x|replace('a', ns.x) %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson }}",
        "{{ 'a'|center(10**10) }}",
        "{{ 'a'.ljust(10**10) }}",
        "{{ 'a'|indent(10**10) }}",
        "{{ messages|tojson(indent=10**9) }}",
        "{{ range(9999)|list|join('x' * 9999) }}",
        "{{ [1]|batch(10**9, 'x')|list }}",
        "{% for i in range(2000) %}{{ 'x' * 1000 }}{% endfor %}",
        "(" * 3 + "{{" + "(" * 5000 + "1" + ")" * 5000 + "}}",
        "x" * 300_000,
    ],
)
def test_a_template_that_wants_too_much_is_refused_soon(source):
    start = time.monotonic()

    with pytest.raises(SteadError) as caught:
        render(source)

    assert caught.value.code.startswith("template-")
    assert time.monotonic() - start < 4  # the limit of 2 s, on a machine that is busy


def test_a_template_cannot_change_the_messages_it_sees():
    template = ChatTemplate("{% set _ = messages[0].get('x') %}{{ messages[0].content }}")

    assert template.render(CHAT) == template.render(CHAT) == "q"


def test_the_date_is_fixed_unless_it_is_passed():
    assert render("{{ strftime_now('%d %b %Y') }}") == "26 Jul 2024"


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="{}%- '\"abmessagesforinif|.()[]~+*1\n", max_size=60))
def test_any_source_renders_or_raises_a_typed_error(source):
    with suppress(SteadError):  # anything else is a fault
        assert isinstance(render(source), str)


def test_a_syntax_error_names_its_line():
    with pytest.raises(DataError, match="line 2 of the chat template"):
        render("ok\n{% for %}")


def _folder(tmp_path, **files):
    for name, content in files.items():
        path = tmp_path / name.replace("__", ".")
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return tmp_path


def test_the_template_file_goes_before_the_config(tmp_path):
    config = {"chat_template": "config", "eos_token": {"content": "</s>"}}
    folder = _folder(tmp_path, tokenizer_config__json=config)

    from_config = ChatTemplate.open(folder)
    _folder(tmp_path, chat_template__json={"chat_template": "json"})
    from_json = ChatTemplate.open(folder)
    _folder(tmp_path, chat_template__jinja="jinja")
    from_file = ChatTemplate.open(folder)

    assert [t.source for t in (from_config, from_json, from_file)] == ["config", "json", "jinja"]
    assert from_file.tokens == {"eos_token": "</s>"}


def test_named_templates_are_chosen_as_transformers_chooses(tmp_path):
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    template = ChatTemplate.open(_folder(tmp_path, tokenizer_config__json={"chat_template": named}))

    assert template.render(CHAT) == "plain"
    assert template.render(CHAT, [{"type": "function"}]) == "tools"


def test_a_broken_config_is_a_typed_error(tmp_path):
    with pytest.raises(ModelError) as caught:
        ChatTemplate.open(_folder(tmp_path, tokenizer_config__json="{"))

    assert caught.value.code == "bad-json"


@pytest.mark.parametrize("chatml", [False, True])
def test_a_folder_without_template_gets_a_default_that_trains_answers(tmp_path, chatml):
    tokens = {str(i): {"content": t, "special": True} for i, t in enumerate(sorted(SPECIALS))}
    config = {"eos_token": "</s>"} | ({"added_tokens_decoder": tokens} if chatml else {})
    template = ChatTemplate.open(_folder(tmp_path, tokenizer_config__json=config))

    rendered = template.render_masked(CHAT)
    prompt = template.render(CHAT[:1], add_generation_prompt=True)

    assert template.is_default
    assert [rendered.text[a:b] for a, b in rendered.spans] == ["a<|im_end|>" if chatml else "a</s>"]
    assert rendered.text.startswith(prompt)


CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PLAIN = "{{ bos_token }}{% for m in messages %}{{ m.role + ': ' + m.content|trim + eos_token }}{% endfor %}"
words = st.text(alphabet="ab:<|>\n im_end/s\\{}%é🙂", min_size=1, max_size=12).filter(str.strip)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), words), min_size=1, max_size=6))
@pytest.mark.spec("003-048")
def test_masks_cover_exactly_the_answers_of_any_conversation(turns):
    messages = tuple(Message(role, text) for role, text in turns)
    template = ChatTemplate(CHATML, {}, SPECIALS)

    rendered = template.render_masked(messages)

    wanted = [text + "<|im_end|>" for role, text in turns if role == "assistant"]
    assert [rendered.text[a:b] for a, b in rendered.spans] == wanted
    assert rendered.text == template.render(messages)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), words), min_size=1, max_size=6))
def test_masks_of_a_template_without_header_cover_the_trimmed_answers(turns):
    messages = tuple(Message(role, text) for role, text in turns)
    template = ChatTemplate(
        PLAIN, {"bos_token": "<s>", "eos_token": "</s>"}, frozenset({"</s>", "<s>"})
    )

    rendered = template.render_masked(messages)

    wanted = [text.strip() + "</s>" for role, text in turns if role == "assistant"]
    assert [rendered.text[a:b] for a, b in rendered.spans] == wanted


def test_text_with_private_use_characters_is_refused_not_guessed():
    template = ChatTemplate(CHATML, {}, SPECIALS)

    with pytest.raises(DataError) as caught:
        template.render_masked((Message("user", "\U000f0001"), Message("assistant", "a")))

    assert caught.value.code == "mask-not-exact"


def test_parts_of_text_render_like_text():
    parts = (Message("user", (TextPart("a"), TextPart("b"))), Message("assistant", "c"))

    assert ChatTemplate(CHATML).render(parts).startswith("<|im_start|>user\nab<|im_end|>")


def test_tool_arguments_reach_the_template_as_objects():
    call = ToolCall("1", "f", '{"x": "é"}')
    source = "{% for c in messages[0].tool_calls %}{{ c.function.arguments | tojson }}{% endfor %}"

    assert (
        ChatTemplate(source).render((Message("assistant", None, tool_calls=(call,)),))
        == '{"x": "é"}'
    )
