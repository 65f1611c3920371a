"""The whole stage: rows to a committed folder; splits, drops, invariants, repetition."""

import gc
import json
import tracemalloc
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from stead.core import manifest
from stead.core.errors import DataError
from stead.core.events import Note, Progress
from stead.data import encode_pool
from stead.data import prepare as prepare_room
from stead.data.clean import Tally
from stead.data.facts import DataFacts
from stead.data.pack import TokenStore, make_batch, read_scalars
from stead.data.prepare import prepare, read_rows, survey
from stead.data.row import Row
from stead.data.rows import Loaded, load
from stead.data.scan import Scan
from stead.data.section import Section
from stead.data.split import Chooser
from stead.data.template import ChatTemplate
from stead.data.tokenizer import TextTokenizer
from stead.messages import Message


def pairs(n: int, **more) -> str:
    return "\n".join(
        json.dumps({"prompt": f"question {i}?", "completion": f"answer {i}", **more})
        for i in range(n)
    )


def prepared(write, model, tmp_path, content, name="a.jsonl", **more):
    arguments = {k: more.pop(k) for k in ("kind_wanted", "max_length", "seed", "emit") if k in more}
    section = Section(write(name, content), **more)
    return prepare(section, model, tmp_path / "out", **arguments)


def trained_texts(model, data, split="train", column="tokens"):
    tokenizer, store = TextTokenizer.open(model), TokenStore.open(data, split, column)
    found = []
    for i in range(len(store)):
        ids = store.tokens(i)[store.mask(i) == 1]
        found.append(tokenizer.decode(ids.tolist(), skip_special=False))
    return found


@pytest.mark.spec("001-009", "003-060")
def test_rows_become_tokens_with_the_answers_trained(write, model, tmp_path):
    data = prepared(write, model, tmp_path, pairs(50))

    assert data.kind == "messages"
    assert data.splits == {"train": 45, "eval": 5}
    texts = trained_texts(model, data) + trained_texts(model, data, "eval")
    assert sorted(texts) == sorted(f"answer {i}<|im_end|>" for i in range(50))
    assert manifest.verify(data.path, "prepared-data").hash == data.hash
    rows = list(read_rows(data, "eval"))
    assert [row.messages[0].content for row in rows] == [
        f"question {int(row.where.split(':')[1]) - 1}?" for row in rows
    ]


@pytest.mark.spec("003-050")
def test_the_split_is_disjoint_reproducible_and_of_the_wanted_size(write, model, tmp_path):
    first = prepared(write, model, tmp_path / "1", pairs(200), eval_share=0.1)
    again = prepared(write, model, tmp_path / "2", pairs(200), eval_share=0.1)
    other = prepared(write, model, tmp_path / "3", pairs(200), eval_share=0.1, seed=7)

    def rows(data, split):
        return {row.where for row in read_rows(data, split)}

    assert first.splits == {"train": 180, "eval": 20}
    assert not rows(first, "train") & rows(first, "eval")
    assert len(rows(first, "train") | rows(first, "eval")) == 200
    assert rows(first, "eval") == rows(again, "eval")
    assert first.hash == again.hash
    assert rows(first, "eval") != rows(other, "eval")


def test_the_split_does_not_depend_on_order_and_equal_questions_stay_together(write):
    texts = [(f"q{i % 40}", f"a{i}") for i in range(200)]
    rows = [
        Row("messages", f"f:{i}", messages=(Message("user", q), Message("assistant", a)))
        for i, (q, a) in enumerate(texts)
    ]

    def held(ordered):
        chooser = Chooser(1)
        for row in ordered:
            chooser.see(row)
        split = chooser.split(0.2)
        return {row.where for row in ordered if split.is_eval(row)}

    out = held(rows)

    assert out == held(rows[::-1])
    questions = {rows[int(w[2:])].messages[0].content for w in out}
    assert len(out) == 5 * len(questions)


def test_equal_rows_never_straddle_even_when_all_ask_the_same(write, model, tmp_path):
    lines = [json.dumps({"prompt": "same", "completion": f"a{i % 20}"}) for i in range(100)]

    data = prepared(write, model, tmp_path, "\n".join(lines), dedupe=False, eval_share=0.2)

    train, held = (set(trained_texts(model, data, s)) for s in ("train", "eval"))
    assert train
    assert held
    assert not train & held


@pytest.mark.spec("002-024", "003-038")
def test_bad_rows_are_named_counted_and_left_out(write, model, tmp_path):
    bad = [
        '{"prompt": "x"',
        '{"prompt": "only a question"}',
        '{"prompt": "q", "completion": "  "}',
        '{"prompt": "", "completion": "a"}',
        '{"prompt": "question 3?", "completion": "answer 3"}',
        '{"prompt": 3.5, "completion": ["x"]}',
    ]
    data = prepared(write, model, tmp_path, pairs(20) + "\n" + "\n".join(bad))

    facts = data.meta["facts"]
    assert facts["dropped"] == {
        "bad-json": 1, "no-answer": 2, "no-question": 1, "duplicate": 1, "bad-turn": 1,
    }  # fmt: skip
    assert facts["read"] == 26
    named = {(one["where"], one["code"]) for one in facts["examples"]}
    assert ("a.jsonl:21", "bad-json") in named
    assert ("a.jsonl:25", "duplicate") in named
    assert sum(data.splits.values()) == 20


def test_refuse_stops_at_the_first_bad_row_with_its_place(write, model, tmp_path):
    content = pairs(5) + '\n{"prompt": NaN}\n' + pairs(5)

    with pytest.raises(DataError, match=r"^a.jsonl:6: ") as caught:
        prepared(write, model, tmp_path, content, on_error="refuse")

    assert caught.value.code == "bad-json"
    assert not (tmp_path / "out").exists()


@pytest.mark.spec("000-089")
def test_the_same_inputs_are_prepared_once(write, model, tmp_path):
    events: list = []
    first = prepared(write, model, tmp_path, pairs(20))

    again = prepared(write, model, tmp_path, pairs(20), emit=events.append)
    changed = prepared(write, model, tmp_path, pairs(20), train_on="last")

    assert again.path == first.path
    assert [e.code for e in events if isinstance(e, Note)] == ["cached"]
    assert changed.path != first.path


@pytest.mark.spec("001-058")
def test_a_damaged_folder_is_not_used_and_not_touched(write, model, tmp_path):
    first = prepared(write, model, tmp_path, pairs(20))
    mask = first.path / "train.tokens.mask.bin"
    mask.write_bytes(b"\1" * mask.stat().st_size)

    again = prepared(write, model, tmp_path, pairs(20))

    assert again.path != first.path
    assert again.hash == first.hash


def test_preference_has_two_columns_with_one_prompt(write, model, tmp_path):
    lines = [
        json.dumps(
            {"prompt": f"q{i}", "chosen": f"good {i}", "rejected": f"bad {i}", "margin": i / 2}
        )
        for i in range(10)
    ]

    data = prepared(write, model, tmp_path, "\n".join(lines), eval_share=0.0)

    assert data.kind == "preference"
    assert trained_texts(model, data, column="chosen")[3] == "good 3<|im_end|>"
    assert trained_texts(model, data, column="rejected")[3] == "bad 3<|im_end|>"
    assert read_scalars(data, "train", "margin").tolist() == [i / 2 for i in range(10)]


def test_labels_are_kept_as_scalars(write, model, tmp_path):
    lines = [
        json.dumps({"prompt": f"q{i}", "completion": "a", "label": i % 2 == 0}) for i in range(6)
    ]

    data = prepared(write, model, tmp_path, "\n".join(lines), eval_share=0.0)

    assert read_scalars(data, "train", "label").tolist() == [1, 0, 1, 0, 1, 0]


def test_a_method_gets_the_kind_it_wants_or_a_typed_refusal(write, model, tmp_path):
    pair = json.dumps({"prompt": "q", "chosen": "c", "rejected": "r"})
    more = json.dumps({"prompt": "p", "chosen": "c", "rejected": "r"})
    content = f"{pair}\n{more}"

    sft = prepared(write, model, tmp_path, content, kind_wanted="messages", eval_share=0.0)
    kto = prepared(write, model, tmp_path, content, kind_wanted="labelled", eval_share=0.0)

    assert trained_texts(model, sft) == ["c<|im_end|>"] * 2
    assert trained_texts(model, kto) == ["c<|im_end|>", "r<|im_end|>"] * 2
    with pytest.raises(DataError) as caught:
        prepared(write, model, tmp_path, pairs(3), kind_wanted="preference")
    assert caught.value.code == "wrong-kind"
    assert "'chosen' and 'rejected'; the rows are 'messages'" in caught.value.message
    assert "(columns: prompt, completion; missing: chosen, rejected)" in caught.value.message
    assert "-s data.columns.chosen=COLUMN -s data.columns.rejected=COLUMN" in caught.value.message
    assert str(caught.value.hint).startswith(f"stead data inspect {tmp_path}")


def test_answers_marked_bad_are_not_learnt_by_a_method_that_learns_answers(write, model, tmp_path):
    rows = [{"prompt": f"q{i}", "completion": f"a{i}", "label": i != 1} for i in range(3)]
    content = "".join(json.dumps(row) + "\n" for row in rows)

    sft = prepared(write, model, tmp_path, content, kind_wanted="messages", eval_share=0.0, on_error="refuse")  # fmt: skip

    assert trained_texts(model, sft) == ["a0<|im_end|>", "a2<|im_end|>"]
    assert sft.meta["facts"]["dropped"] == {"bad-answer": 1}


def test_documents_are_packed_into_full_blocks_with_their_end(write, model, tmp_path):
    lines = "\n".join(json.dumps({"text": "x" * n}) for n in (3, 30, 8, 50, 1))

    data = prepared(write, model, tmp_path, lines, max_length=16, eval_share=0.0)

    store = TokenStore.open(data, "train")
    batch = make_batch(store, range(len(store)))
    assert data.kind == "text"
    assert store.lengths.tolist() == [16, 16, 16, 16, 16, 16, 1]
    eos = TextTokenizer.open(model).eos_id
    assert (batch.tokens == eos).sum() == 5
    after = np.flatnonzero(batch.tokens[:-1] == eos) + 1
    assert set(after) <= set(batch.starts.tolist())
    assert all(batch.labels[i - 1] < 0 for i in after)


def test_a_model_that_wants_bos_gets_it_once(write, make_model, tmp_path):
    folder = make_model(
        tmp_path / "bos",
        "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}",
        adds_bos=True,
    )
    bare = make_model(tmp_path / "bare", None, adds_bos=True)

    own = prepared(write, folder, tmp_path / "1", pairs(4), eval_share=0.0)
    default = prepared(write, bare, tmp_path / "2", pairs(4), eval_share=0.0)
    text = prepared(write, folder, tmp_path / "3", '{"text": "abc"}', eval_share=0.0)

    for data in (own, default, text):
        tokens = TokenStore.open(data, "train").tokens(0).tolist()
        assert tokens[0] == 0
        assert tokens.count(0) == 1


@pytest.mark.spec("001-009")
def test_cut_answers_and_missing_ends_are_reported(write, make_model, tmp_path):
    folder = make_model(
        tmp_path / "m", "{% for m in messages %}{{ m.role + ':' + m.content + '\n' }}{% endfor %}"
    )
    events: list = []

    data = prepared(
        write, folder, tmp_path, pairs(10), max_length=30, emit=events.append, eval_share=0.0
    )

    codes = {e.code for e in events if isinstance(e, Note)}
    assert codes == {"no-end-token", "truncated", "answer-cut"}
    assert data.meta["facts"]["counts"]["no_end_token"] == 10
    assert TokenStore.open(data, "train").lengths.max() == 30
    assert [e.done for e in events if isinstance(e, Progress)] == [10]


def test_rows_whose_answer_is_cut_off_whole_are_dropped_and_all_of_them_refused(
    write, model, tmp_path
):
    short = json.dumps({"prompt": "q", "completion": "a"})
    long = json.dumps({"prompt": "q" * 99, "completion": "a"})

    data = prepared(write, model, tmp_path, f"{short}\n{long}", max_length=64, eval_share=0.0)

    assert data.splits["train"] == 1
    assert data.meta["facts"]["dropped"] == {"no-answer-left": 1}
    with pytest.raises(DataError) as caught:
        prepared(write, model, tmp_path, long, max_length=64, name="b.jsonl")
    assert caught.value.code == "nothing-to-train"


def test_a_row_the_template_refuses_is_dropped_with_its_reason(write, make_model, tmp_path):
    strict = (
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}{{ m.content + eos_token }}{% endfor %}"
    )
    turns = [{"role": r, "content": "x"} for r in ("user", "user", "assistant")]
    content = json.dumps({"messages": turns[1:]}) + "\n" + json.dumps({"messages": turns})

    data = prepared(write, make_model(tmp_path / "m", strict), tmp_path, content, eval_share=0.0)

    assert data.splits["train"] == 1
    assert data.meta["facts"]["examples"][0]["where"] == "a.jsonl:2"
    assert "roles must alternate" in data.meta["facts"]["examples"][0]["reason"]


def test_separate_evaluation_rows_never_train(write, model, tmp_path):
    evaluation = write("eval.jsonl", pairs(5))

    data = prepared(write, model, tmp_path, pairs(20), eval_path=evaluation)

    assert data.splits == {"train": 15, "eval": 5}
    assert data.meta["facts"]["dropped"] == {"in-eval": 5}


def test_several_sources_are_mixed_with_their_own_choices(write, model, tmp_path):
    first = write("a.jsonl", pairs(5))
    second = write("b.csv", "frage,antwort\n" + "".join(f"w{i} was,das {i}\n" for i in range(5)))
    other = SimpleNamespace(
        path=second, columns={"prompt": "frage", "completion": "antwort"}, limit=3
    )

    data = prepare(Section((first, other), eval_share=0.0), model, tmp_path / "out")

    assert data.splits["train"] == 8
    assert data.meta["facts"]["formats"] == ["pairs", "pairs"]


def test_the_survey_tells_what_prepare_will_do(write, model, tmp_path):
    path = write("a.jsonl", pairs(60) + "\n{}\n" + pairs(2))
    section = Section(path)

    facts = survey(section, model, 512)
    data = prepare(section, model, tmp_path / "out", max_length=512)

    assert (facts.train_rows, facts.eval_rows) == (data.splits["train"], data.splits["eval"])
    assert facts.tokens == sum(data.meta["tokens"].values())
    assert facts.label_tokens == sum(data.meta["label_tokens"].values())
    assert facts.dropped == {"empty-row": 1, "duplicate": 2}
    assert not facts.estimated
    assert facts.hash == data.meta["facts"]["hash"]
    assert isinstance(facts, DataFacts)
    assert "prompt" in facts.why[0]


def test_the_limit_counts_usable_rows(write, model, tmp_path):
    data = prepared(write, model, tmp_path, "{}\n" * 9 + pairs(50), limit=10, eval_share=0.0)

    assert data.splits["train"] == 10


def test_no_usable_row_is_an_error_that_names_the_first(write):
    section = Section(write("a.jsonl", '{"prompt": "q", "completion": ""}\n' * 3))

    with pytest.raises(DataError, match=r"none of the 3 rows .*a.jsonl:1: the assistant's answer"):
        list(load(section, Loaded(Tally())))


def test_memory_is_flat_in_rows(write, model, tmp_path):
    def peak(rows: int) -> int:
        path = write(
            f"{rows}.jsonl",
            "\n".join(
                json.dumps({"prompt": f"q {i}", "completion": "a" * 30}) for i in range(rows)
            ),
        )
        gc.collect()  # what waits to be collected would count as needed
        tracemalloc.start()
        prepare(Section(path), model, tmp_path / str(rows))
        _, found = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return found

    peak(10)  # what is loaded once is no matter of rows

    assert peak(1200) - peak(600) < 600 * 300  # some hash bytes a row; its ids alone have 2,000


REAL = {
    "gsm8k_test.jsonl": ("messages", 1319), "hh_harmless.jsonl": ("preference", 2312),
    "kto_en_demo.json": ("labelled", 300), "glaive_toolcall_en_demo.json": ("messages", 300),
    "dpo_en_demo.json": ("preference", 300), "alpaca_seed_tasks.jsonl": ("messages", 175),
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_real_sets_keep_the_invariants_of_the_mask(name, real, model, tmp_path):
    kind, read = REAL[name]

    data = prepare(Section(str(real / name), limit=60, eval_share=0.0), model, tmp_path)

    facts = data.meta["facts"]
    assert data.kind == kind
    assert facts["counts"] == {
        "truncated": 0,
        "answers_cut": 0,
        "no_end_token": 0,
        "silent_answers": 0,
        "straddling_tokens": 0,
    }
    for column in ("chosen", "rejected") if kind == "preference" else ("tokens",):
        for text, row in zip(
            trained_texts(model, data, column=column), read_rows(data, "train"), strict=True
        ):
            turns = {"chosen": row.chosen, "rejected": row.rejected}.get(column, row.messages)
            answers = [m for m in turns if m.role == "assistant"]
            if kind == "labelled":
                answers = answers[-1:]
            assert text.count("<|im_end|>") == len(answers)
            said = "".join(m.text for m in answers if m.text)
            shown = "".join(p for p in text.split("<|im_end|>") if not p.startswith("<call>"))
            assert shown == said
    assert Counter(facts["dropped"]).total() <= read // 8


def test_children_encode_to_the_same_bytes_facts_and_drops(write, model, tmp_path, monkeypatch):
    rows = pairs(600) + '\n{"prompt": "q", "completion": "a"}\n{"prompt": "x", "completion": ""}'
    here = prepared(write, model, tmp_path / "here", rows, max_length=38)
    monkeypatch.setattr(prepare_room, "children", lambda rows: 2)

    there = prepared(write, model, tmp_path / "there", rows, max_length=38)

    assert there.hash == here.hash
    assert there.meta["facts"] == here.meta["facts"]
    assert there.meta["facts"]["counts"]["truncated"] > 0


def test_a_child_that_dies_costs_nothing_but_time(write, model, tmp_path, monkeypatch):
    here = prepared(write, model, tmp_path / "here", pairs(600))
    monkeypatch.setattr(prepare_room, "children", lambda rows: 1)
    monkeypatch.setattr(encode_pool, "MODULE", "stead.no_such_module")

    there = prepared(write, model, tmp_path / "there", pairs(600))

    assert there.hash == here.hash


@pytest.mark.spec("000-089")
def test_a_noted_scan_is_not_made_again_and_a_changed_file_is(write, model, tmp_path, monkeypatch):
    section = Section(write("rows.jsonl", pairs(40)))
    notes = tmp_path / "notes"
    survey(section, model, 512, notes=notes)
    first = prepare(section, model, tmp_path / "a")
    monkeypatch.setattr(Scan, "run", lambda self: pytest.fail("scanned again"))

    again = prepare(section, model, tmp_path / "b", notes=notes)

    assert again.hash == first.hash
    assert again.meta["facts"] == first.meta["facts"]
    read = first.meta["facts"]
    named = replace(section, reader=read["readers"][0], format=read["formats"][0])  # as a plan does
    assert prepare(named, model, tmp_path / "d", notes=notes).splits == first.splits
    write("rows.jsonl", pairs(41))
    with pytest.raises(pytest.fail.Exception, match="scanned again"):
        prepare(section, model, tmp_path / "c", notes=notes)


@pytest.mark.parametrize(
    ("source", "apart"),
    [
        ("{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}", True),
        ("{% if messages %}{% generation %}x{% endgeneration %}{% else %}y{% endif %}", True),
        ("{% set x %}{% generation %}x{% endgeneration %}{% endset %}{{ x | length }}", False),
        ("{% filter upper %}{% generation %}x{% endgeneration %}{% endfilter %}", False),
        ("{% macro f() %}{% generation %}x{% endgeneration %}{% endmacro %}{{ f() | length }}", False),
        ("{% generation %}a{% generation %}x{% endgeneration %}{% endgeneration %}", False),
        ("{% for m in messages recursive %}{% generation %}x{% endgeneration %}{% endfor %}", False),
        ("{% generation %}x{% endgeneration %}{{ '\\ufdd0' }}", False),
        ("{% generation %}x{% endgeneration %}\ufdd1", False),
    ],
)  # fmt: skip
def test_one_rendering_is_enough_only_where_the_template_cannot_see_the_marks(source, apart):
    assert ChatTemplate(source)._bound(()).blocks_apart is apart
