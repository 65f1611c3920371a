"""Our renderer against transformers on templates of known families: the same bytes, exact masks."""

from datetime import datetime
from pathlib import Path

import pytest

from stead.core.errors import DataError
from stead.data.chat import chat_dicts
from stead.data.template import ChatTemplate
from stead.messages import Message, ToolCall

FOLDER = Path(__file__).parent / "chat_templates"
NAMES = sorted(path.stem for path in FOLDER.glob("*.jinja"))
SPECIALS = frozenset(
    {
        "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>",
        "<|end_header_id|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<|endoftext|>",
        "<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[TOOL_RESULTS]",
        "[/TOOL_RESULTS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "<|START_OF_TURN_TOKEN|>",
        "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>",
        "<|User|>", "<|Assistant|>",
    }
)  # fmt: skip
EOS = {"phi3": "<|endoftext|>", "chatml": "<|im_end|>", "chatml_generation": "<|im_end|>"}
# What ends an assistant's turn, family by family, read off the templates by eye.
END = {
    "alpaca": "</s>", "chatml": "<|im_end|>", "chatml_generation": "<|im_end|>",
    "command_r": "<|END_OF_TURN_TOKEN|>", "deepseek_r1": "</s>", "gemma": "<end_of_turn>",
    "generation_without_end": "<|end|>", "llama2": " </s>", "llama3": "<|eot_id|>",
    "llama31_tools": "<|eot_id|>", "mistral": "</s>", "mistral_tools": "</s>",
    "no_generation_prompt": "<|im_end|>", "phi3": "<|end|>", "qwen25": "<|im_end|>",
    "qwen3": "<|im_end|>", "tulu": "</s>", "vicuna": "</s>", "zephyr": "</s>",
}  # fmt: skip
# What stands between the generation prompt and the content, where it is not nothing.
LEAD = {"llama2": " ", "mistral_tools": " ", "vicuna": " "}
WITHOUT_SYSTEM = ("gemma", "mistral")
WITH_TOOLS = ("llama31_tools", "mistral_tools", "qwen25", "qwen3")
TRIMMING = ("command_r", "gemma", "llama2", "llama3", "llama31_tools", "mistral_tools", "vicuna")

TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Größe & <weather>",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    },
)
PLAIN = (
    Message("system", "Be brief."),
    Message("user", "Hi there, what's 2+2?"),
    Message("assistant", 'It is 4 — "vier" in German, 四 in Chinese 🙂.'),
    Message("user", "And 3+3?"),
    Message("assistant", "6"),
)
CALLING = (
    Message("user", "Weather in Köln?"),
    Message("assistant", None, tool_calls=(ToolCall("call12345", "weather", '{"city": "Köln"}'),)),
    Message("tool", '{"temp": 21}', tool_call_id="call12345"),
    Message("assistant", "It is 21 degrees."),
    Message("user", "Thanks."),
    Message("assistant", "You are welcome."),
)


def template_of(name: str) -> ChatTemplate:
    source = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    tokens = {"bos_token": "<s>", "eos_token": EOS.get(name, "</s>")}
    return ChatTemplate(source, tokens, SPECIALS, now=datetime.now())


def plain_for(name: str) -> tuple[Message, ...]:
    return PLAIN[1:] if name in WITHOUT_SYSTEM else PLAIN


def trained(template: ChatTemplate, messages, tools=(), **more) -> list[str]:
    rendered = template.render_masked(messages, tools, **more)
    assert rendered.text == template.render(messages, tools)
    return [rendered.text[a:b] for a, b in rendered.spans]


@pytest.fixture(scope="module")
def hf():
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<unk>": 0}, unk_token="<unk>"))

    def render(template: ChatTemplate, messages, tools=(), generate=False) -> str:
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **template.tokens)
        return tokenizer.apply_chat_template(
            chat_dicts(messages), tools=list(tools) if tools else None, tokenize=False,
            add_generation_prompt=generate, chat_template=template.source,
        )  # fmt: skip

    return render


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("generate", [False, True])
def test_renders_the_bytes_of_transformers(name, generate, hf):
    template, messages = template_of(name), plain_for(name)

    ours = template.render(messages, add_generation_prompt=generate)

    assert ours == hf(template, messages, generate=generate)


@pytest.mark.parametrize("name", WITH_TOOLS)
def test_renders_tool_calls_as_transformers(name, hf):
    template = template_of(name)

    assert template.render(CALLING, TOOLS) == hf(template, CALLING, TOOLS)


@pytest.mark.parametrize("name", NAMES)
def test_trains_exactly_the_answers_with_their_end(name):
    template = template_of(name)

    found = trained(template, plain_for(name))

    lead, end = LEAD.get(name, ""), END[name]
    think = "<think>\n\n</think>\n\n" if name == "qwen3" else ""
    assert found == [lead + PLAIN[2].text + end, lead + think + "6" + end]


@pytest.mark.parametrize("name", NAMES)
def test_the_end_of_turn_is_found(name):
    assert template_of(name).end_of_turn() == END[name]


@pytest.mark.parametrize("name", NAMES)
def test_trains_only_the_last_answer_when_asked(name):
    found = trained(template_of(name), plain_for(name), train="last")

    assert len(found) == 1
    assert found[0].endswith("6" + END[name])


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_that_repeats_the_question_is_told_apart(name):
    messages = (Message("user", "same"), Message("assistant", "same"), Message("user", "same"))

    found = trained(template_of(name), messages)

    assert len(found) == 1
    assert found[0].removeprefix(LEAD.get(name, "")) == "same" + END[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_question_that_holds_the_header_does_not_move_the_mask(name):
    template = template_of(name)
    plain = template.render([Message("user", "u")])
    header = template.render([Message("user", "u")], add_generation_prompt=True)[len(plain) :]
    messages = (Message("user", f"say {header} now"), Message("assistant", "no"))

    found = trained(template, messages)

    think = "<think>\n\n</think>\n\n" if name == "qwen3" else ""
    assert found == [LEAD.get(name, "") + think + "no" + END[name]]


@pytest.mark.parametrize("name", NAMES)
def test_space_around_an_answer_follows_the_template(name):
    messages = (Message("user", "q"), Message("assistant", "  padded \n"), Message("user", "r"))

    (found,) = trained(template_of(name), messages)

    body = found.removesuffix(END[name]).removeprefix(LEAD.get(name, ""))
    assert body == ("padded" if name in TRIMMING else "  padded \n")


@pytest.mark.parametrize("name", WITH_TOOLS)
def test_trains_tool_calls_but_no_tool_results(name):
    found = trained(template_of(name), CALLING, TOOLS)

    assert len(found) == 3
    assert "weather" in found[0]
    assert "Köln" in found[0]
    assert found[0].endswith(END[name])
    assert not any("temp" in text for text in found)
    assert found[1].endswith("It is 21 degrees." + END[name])


def test_reasoning_of_the_last_turn_is_trained_and_earlier_reasoning_is_gone():
    messages = (
        Message("user", "a"), Message("assistant", "x", reasoning="first thought"),
        Message("user", "b"), Message("assistant", "y", reasoning="second thought"),
    )  # fmt: skip

    found = trained(template_of("qwen3"), messages)

    assert found == ["x<|im_end|>", "<think>\nsecond thought\n</think>\n\ny<|im_end|>"]


@pytest.mark.parametrize("name", ["qwen3", "deepseek_r1"])
def test_reasoning_inside_the_content_is_cut_where_the_template_cuts_it(name):
    messages = (
        Message("user", "a"), Message("assistant", "<think>\nhm\n</think>\n\nx"),
        Message("user", "b"), Message("assistant", "y"),
    )  # fmt: skip

    found = trained(template_of(name), messages)

    assert found[0] == ("x" if name == "qwen3" else "\n\nx") + END[name]


def test_blocks_and_search_agree():
    with_blocks = template_of("chatml_generation")
    without = template_of("chatml")

    assert trained(with_blocks, PLAIN) == trained(without, PLAIN)


def test_marks_equal_the_assistant_indices_of_transformers():
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    template = template_of("chatml_generation")
    texts, indices = utils.render_jinja_template(
        [chat_dicts(PLAIN)], chat_template=template.source, return_assistant_tokens_mask=True
    )

    rendered = template.render_masked(PLAIN)

    assert rendered.text == texts[0]
    assert rendered.spans == tuple(map(tuple, indices[0]))


def test_a_template_that_rewrites_answers_is_refused_not_guessed():
    template = ChatTemplate(
        "{% for m in messages %}{{ m.content | upper | replace('A', 'bb') }}{% if m.content|length > 3 %}!{% endif %}{% endfor %}"
    )

    with pytest.raises(DataError) as caught:
        template.render_masked((Message("user", "q"), Message("assistant", "abc")))

    assert caught.value.code == "mask-not-exact"


def test_a_refusal_of_the_template_is_typed():
    with pytest.raises(DataError) as caught:
        template_of("gemma").render(PLAIN)

    assert caught.value.code == "template-refused"
    assert "System role not supported" in caught.value.message
