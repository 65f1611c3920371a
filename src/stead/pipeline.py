"""The line that makes models, one function per stage: plan → prepare → load → train → evaluate → export.

Knows nothing about surfaces, databases or processes; importable from a notebook:

    plan = stead.plan(model="base", data="rows.jsonl", method="sft", adapter="lora", out="run")
    checkpoint = stead.train(plan)
    report = stead.evaluate(checkpoint, data="test.jsonl", metrics=["exact_match"])
    artifact = stead.export(checkpoint, format="gguf", quant="q8_0", out="model.gguf")

`VERBS` are the same functions for the worker: JSON arguments in, JSON result out.
"""
