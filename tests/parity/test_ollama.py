"""A Modelfile has the template and the stops the model was trained with, for three families."""

import re
from pathlib import Path
from typing import Any

import pytest

from stead.core.errors import ExportError
from stead.data.template import ChatTemplate
from stead.data.tokenizer import TextTokenizer
from stead.exporting.conversations import built_in
from stead.exporting.run import run_export
from stead.messages import Message

LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start|>' + m['role'] + '<|stop|>\n\n' + m['content'] | trim"
    " + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant<|stop|>\n\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %} {{ m['content'] }}<|im_end|>"
    "{% else %}[INST] {{ m['content'] }} [/INST]{% endif %}{% endfor %}"
)
FAMILIES = {
    "chatml": {},
    "llama 3": {"template": LLAMA3, "bos": True},
    "mistral": {"template": MISTRAL},
}


def _go(template: str, messages: tuple[Message, ...]) -> str:
    """Run the few commands of Go's template language that we write."""
    head, loop, tail = re.fullmatch(
        r"(.*?)\{\{ range \.Messages \}\}(.*)\{\{ end \}\}\{\{ end \}\}(.*)", template, re.DOTALL
    ).groups()
    branches = dict(
        re.findall(
            r'\{\{ (?:else )?if eq \.Role "(\w+)" \}\}(.*?)(?=\{\{ else if|\Z)', loop, re.DOTALL
        )
    )
    turns = [branches[m.role].replace("{{ .Content }}", m.text) for m in messages]
    return head + "".join(turns) + tail


@pytest.mark.spec("000-023", "000-038")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_modelfile_says_what_training_rendered(
    family: str, make_model: Any, tmp_path: Path
) -> None:
    model = make_model(**FAMILIES[family])

    run_export(str(model), str(tmp_path / "out"), format="ollama", quant="q8_0")

    text = (tmp_path / "out" / "Modelfile").read_text()
    assert text.startswith("FROM ./model.gguf\n")
    assert (tmp_path / "out" / "model.gguf").is_file()
    template = re.search(r'TEMPLATE """(.*)"""', text, re.DOTALL)[1]
    bos = "<s>" if FAMILIES[family].get("bos") else ""  # llama.cpp adds it, so Go must not
    ours = ChatTemplate.open(model)
    for one in built_in(12):
        turns = tuple(Message(m.role, m.text.strip()) for m in one.messages if one.is_open)
        if turns:
            assert bos + _go(template, turns) == ours.render(turns, add_generation_prompt=True)
    stops = re.findall(r'PARAMETER stop "(.*)"', text)
    tokenizer = TextTokenizer.open(model)
    assert stops == [tokenizer.token(i) for i in tokenizer.stop_ids]


def test_a_template_that_go_cannot_say_is_refused(make_model: Any, tmp_path: Path) -> None:
    model = make_model(template="{% for m in messages %}{{ m['content'] | upper }}{% endfor %}")

    with pytest.raises(ExportError) as caught:
        run_export(str(model), str(tmp_path / "out"), format="ollama")

    assert caught.value.code == "template-not-framed"
    assert not (tmp_path / "out").exists()
