"""A GGUF file is the model: same bytes, ids, stops and answers in llama.cpp as in transformers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stead.core.errors import ExportError, ModelError, SteadError
from stead.core.events import ignore
from stead.exporting import gguf_file, gguf_model, questions
from stead.exporting.exporter import registry
from stead.exporting.gguf_file import U32
from stead.exporting.parity import run_parity
from stead.exporting.run import run_export
from stead.exporting.source import Source

pytest.importorskip("xllamacpp")
CHATS = 3
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64, "rope_theta": 5000.0,
}  # fmt: skip
BOS_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FORMS = {
    "tied llama": {},
    "untied, biases, wide heads": {
        "tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True, "head_dim": 32,
    },
    "llama 3 rope": {"rope_parameters": LLAMA3},
    "linear rope": {
        "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    },
    "mistral": {"family": "Mistral", "sliding_window": None},
    "qwen2": {"family": "Qwen2"},
    "BOS in template and tokenizer": {"template": BOS_TEMPLATE, "bos": True},
    "BOS in the template only": {"template": BOS_TEMPLATE},
    "BOS in the tokenizer only": {"bos": True},
}  # fmt: skip


def _export(model: Path, out: Path, quant: str = "f32") -> Path:
    run_export(str(model), str(out), quant=quant)
    return out


@pytest.mark.spec("000-037")
@pytest.mark.parametrize("form", FORMS)
def test_an_exact_export_passes_in_every_form(form: str, make_model: Any, tmp_path: Path) -> None:
    model = make_model(**FORMS[form])
    file = _export(model, tmp_path / "m.gguf")

    found = run_parity(str(model), str(file), limit=CHATS)

    assert found["reasons"] == []
    assert found["verdict"] == "pass"
    assert found["hops"][0]["logprob_max_abs"] <= 5e-4  # measured 2e-5 to 2e-4


@pytest.mark.parametrize("quant", ["f16", "bf16", "q8_0", "q4_0"])
def test_a_rounded_export_passes_within_its_stated_bound(
    quant: str, make_model: Any, tmp_path: Path
) -> None:
    model = make_model()
    file = _export(model, tmp_path / "m.gguf", quant)

    found = run_parity(str(model), str(file), limit=CHATS)

    assert found["reasons"] == []
    assert found["hops"][0]["quant"] == quant
    assert found["hops"][0]["logprob_mean_abs"] > 1e-4  # rounding is measured, not hidden


def test_k_quants_load_and_keep_their_bound(make_model: Any, tmp_path: Path) -> None:
    model = make_model(hidden_size=256, intermediate_size=512)
    file = _export(model, tmp_path / "m.gguf", "q4_K_M")

    found = run_parity(str(model), str(file), limit=CHATS)

    assert found["reasons"] == []
    assert found["hops"][0]["quant"] == "q4_K_M"


def test_greedy_answers_are_those_of_transformers(make_model: Any, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    base = make_model()
    prompt = [3, 40, 41, 42, 4]
    file = _export(base, tmp_path / "m.gguf")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    expected = model.generate(
        torch.tensor([prompt]),
        max_new_tokens=24,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=2,
    )[0].tolist()
    ids = expected[:-1]
    asked = questions.Questions([], [], [4], [ids], [list(range(len(prompt), len(ids) + 1))], 1)

    answers = questions.ask(file, asked)

    assert [row[0][0] for row in answers.logprobs[0]] == expected[len(prompt) :]


def test_an_adapter_is_exported_as_its_merge(
    make_model: Any, make_adapter: Any, tmp_path: Path
) -> None:
    base = make_model()
    adapter = make_adapter(base)
    file = _export(adapter, tmp_path / "m.gguf")
    run_export(str(adapter), str(tmp_path / "merged"), format="merged")

    found = run_parity(str(adapter), str(file), merged=str(tmp_path / "merged"), limit=CHATS)

    assert found["verdict"] == "pass"
    assert [hop["to"] for hop in found["hops"]] == ["gguf", "merged"]
    assert all(hop["logprob_max_abs"] < 5e-4 for hop in found["hops"])
    assert found["source_recorded"] is True


def test_conversations_may_come_from_a_data_file(make_model: Any, tmp_path: Path) -> None:
    model = make_model()
    file = _export(model, tmp_path / "m.gguf")
    rows = [
        {"instruction": f"say {i} — où ?", "input": "", "output": f"it is {i}"} for i in range(9)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))

    found = run_parity(str(model), str(file), data=str(tmp_path / "rows.jsonl"), limit=3)

    assert (found["verdict"], found["n_conversations"]) == ("pass", 3)


# --- planted faults: each makes a file that loads and talks, and must not pass ---


def _faulty(source: Source, out: Path, change: Callable[[Any], None]) -> Path:
    layout = gguf_model.plan(source, "f32")
    change(layout)
    with out.open("wb") as file:
        gguf_file.write(file, layout.metadata, layout.plans, gguf_model.data(layout, ignore))
    return out


def _set(key: str, value: Any) -> Callable[[Any], None]:
    def change(layout: Any) -> None:
        assert layout.metadata[key] != value
        layout.metadata[key] = value

    return change


def _lose_added_token(layout: Any) -> None:
    layout.metadata["tokenizer.ggml.token_type"][3] = 1


def _swap_layers(layout: Any) -> None:
    one, other = "blk.0.attn_v.weight", "blk.1.attn_v.weight"
    layout.origins[one], layout.origins[other] = layout.origins[other], layout.origins[one]


def _no_permutation(layout: Any) -> None:
    one = {"blk.0.attn_q.weight": "model.layers.0.self_attn.q_proj.weight"}
    original = layout.tensors.float32
    prepared = layout.family.prepare

    class Undone:
        def float32(self, name: str) -> Any:
            array = original(name)
            if name not in one.values():
                return array
            back = array.reshape(4, 8, 2, 64).swapaxes(1, 2).reshape(array.shape)
            assert (prepared("blk.0.attn_q.weight", back) == array).all()
            return back

    object.__setattr__(layout, "tensors", Undone())


def _shuffled_tokens(layout: Any) -> None:
    tokens = layout.metadata["tokenizer.ggml.tokens"]
    tokens[300], tokens[301] = tokens[301], tokens[300]


FAULTS = {
    "swapped template": (_set("tokenizer.chat_template", BOS_TEMPLATE), "prompt bytes"),
    "changed white space in the template": (
        lambda layout: layout.metadata.update(
            {
                "tokenizer.chat_template": layout.metadata["tokenizer.chat_template"].replace(
                    "\n", " ", 1
                )
            }
        ),
        "prompt bytes",
    ),
    "wrong eos": (_set("tokenizer.ggml.eos_token_id", U32(100)), "end an answer"),
    "extra end of turn": (
        lambda layout: layout.metadata.update({"tokenizer.ggml.eot_token_id": U32(50)}),
        "end an answer",
    ),
    "BOS that was not there": (_set("tokenizer.ggml.add_bos_token", True), "token ids"),
    "lost added token": (_lose_added_token, "token ids"),
    "two tokens swapped": (_shuffled_tokens, "token ids"),
    "other pre-tokenizer": (_set("tokenizer.ggml.pre", "llama-bpe"), "token ids"),
    "wrong rope base": (_set("llama.rope.freq_base", 500.0), "logprob"),
    "wrong norm epsilon": (_set("llama.attention.layer_norm_rms_epsilon", 1e-2), "logprob"),
    "a layer's tensor in another": (_swap_layers, "logprob"),
    "Q without the rotary permutation": (_no_permutation, "logprob"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_does_not_pass(fault: str, make_model: Any, tmp_path: Path) -> None:
    change, word = FAULTS[fault]
    model = make_model()
    file = _faulty(Source.open(model), tmp_path / "bad.gguf", change)

    found = run_parity(str(model), str(file), limit=6)

    assert found["verdict"] == "fail"
    assert any(word in reason for reason in found["reasons"]), found["reasons"]


def test_a_missing_bos_does_not_pass(make_model: Any, tmp_path: Path) -> None:
    model = make_model(template=BOS_TEMPLATE, bos=True)
    change = _set("tokenizer.chat_template", BOS_TEMPLATE.replace("{{ bos_token }}", ""))

    def without(layout: Any) -> None:
        change(layout)
        layout.metadata["tokenizer.ggml.add_bos_token"] = False

    found = run_parity(
        str(model), str(_faulty(Source.open(model), tmp_path / "b.gguf", without)), limit=2
    )

    assert found["verdict"] == "fail"
    assert not found["hops"][0]["token_ids_equal"]


def test_a_merge_with_the_wrong_alpha_does_not_pass(
    make_model: Any, make_adapter: Any, tmp_path: Path
) -> None:
    adapter = make_adapter(make_model())
    wrong = tmp_path / "wrong"
    shutil.copytree(adapter, wrong)
    config = json.loads((wrong / "adapter_config.json").read_text())
    (wrong / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 16}))
    file = _export(wrong, tmp_path / "m.gguf")

    found = run_parity(str(adapter), str(file), limit=CHATS)

    assert found["verdict"] == "fail"
    assert found["source_recorded"] is False


def test_a_merge_into_the_wrong_base_does_not_pass(
    make_model: Any, make_adapter: Any, tmp_path: Path
) -> None:
    adapter = make_adapter(make_model())
    run_export(str(adapter), str(tmp_path / "m.gguf"), quant="q8_0", base=str(make_model(seed=7)))

    found = run_parity(str(adapter), str(tmp_path / "m.gguf"), limit=CHATS)

    assert found["verdict"] == "fail"


@pytest.mark.parametrize("share", [0.05, 0.5, 0.999])
def test_a_truncated_file_is_refused_before_llama_cpp_sees_it(
    share: float, make_model: Any, tmp_path: Path
) -> None:
    model = make_model()
    file = _export(model, tmp_path / "m.gguf")
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])

    with pytest.raises(ModelError):
        run_parity(str(model), str(cut))


def test_a_file_llama_cpp_cannot_load_is_a_typed_error(make_model: Any, tmp_path: Path) -> None:
    model = make_model()
    file = _faulty(
        Source.open(model), tmp_path / "bad.gguf", _set("llama.embedding_length", U32(96))
    )

    with pytest.raises(ExportError) as caught:
        run_parity(str(model), str(file), limit=1)

    assert caught.value.code == "llama-died"


def test_a_family_without_an_exporter_is_refused(make_model: Any, tmp_path: Path) -> None:
    folder = tmp_path / "gpt"
    shutil.copytree(make_model(), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["GPT2LMHeadModel"]}))

    with pytest.raises(ExportError, match="GPT2LMHeadModel") as caught:
        run_export(str(folder), str(tmp_path / "m.gguf"))

    assert caught.value.code == "unsupported-family"


@pytest.mark.parametrize("name", ["adapter", "gguf", "merged"])
def test_every_exporter_says_its_size_before_and_leaves_nothing_after_a_refusal(
    name: str, make_model: Any, tmp_path: Path
) -> None:
    exporter = registry().create(name)
    (tmp_path / "taken").write_text("mine")

    with pytest.raises(SteadError):
        exporter.export(Source.open(make_model()), tmp_path / "taken")

    assert (tmp_path / "taken").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]
