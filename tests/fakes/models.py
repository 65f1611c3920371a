"""Tiny models on disk, made by hand or by the reference libraries."""

import json
import struct


def safetensors_bytes(tensors, metadata=None):
    """Return a file of zeros with tensors {name: (dtype, shape)}; F32 and F16 only."""
    header, position = {}, 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, (dtype, shape) in tensors.items():
        size = {"F32": 4, "F16": 2, "BF16": 2}[dtype]
        for n in shape:
            size *= n
        header[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [position, position + size],
        }
        position += size
    return raw_safetensors(header, b"\0" * position)


def raw_safetensors(header, data=b"", length=None):
    """Return a file with exactly this header (a dict or bytes) and data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 300, "hidden_size": 8,
    "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
    "max_position_embeddings": 64, "tie_word_embeddings": True, "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"},
    "rms_norm_eps": 1e-5, "torch_dtype": "float32",
}  # fmt: skip
TENSORS = {"model.embed_tokens.weight": ("F32", (300, 8)), "model.norm.weight": ("F32", (8,))}


def model_folder(folder, *, config=None, tensors=None, tokenizer=True):
    """Write a model folder whose header is true to its config."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    (folder / "model.safetensors").write_bytes(
        safetensors_bytes(TENSORS if tensors is None else tensors)
    )
    if tokenizer:
        (folder / "tokenizer.json").write_text('{"version": "1.0"}')
        (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    return folder


def gguf_file(path):
    """Write a small llama file with the reference library."""
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_feed_forward_length(64)
    writer.add_file_type(7)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{i}" for i in range(100)])
    writer.add_token_types([1] * 100)
    writer.add_chat_template("{{ messages }}")
    writer.add_array("test.short", [1, 2, 3])
    writer.add_array("test.texts", ["a", "b"])
    writer.add_bool("test.flag", True)
    writer.add_float64("test.real", 0.5)
    writer.add_int64("test.negative", -5)
    writer.add_tensor("token_embd.weight", np.zeros((100, 32), dtype=np.float32))
    writer.add_tensor("output_norm.weight", np.ones(32, dtype=np.float32))
    quantized = gguf.quants.quantize(
        np.ones((4, 64), dtype=np.float32), gguf.GGMLQuantizationType.Q8_0
    )
    writer.add_tensor("blk.0.ffn_up.weight", quantized, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def adapter_folder(folder, base="base", **config):
    """Write an adapter in PEFT's format."""
    folder.mkdir(parents=True, exist_ok=True)
    text = {
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 8,
        "base_model_name_or_path": str(base),
    } | config
    (folder / "adapter_config.json").write_text(json.dumps(text))
    tensors = {
        "base_model.model.q.lora_A.weight": ("F32", (4, 8)),
        "base_model.model.q.lora_B.weight": ("F32", (8, 4)),
    }
    (folder / "adapter_model.safetensors").write_bytes(safetensors_bytes(tensors))
    return folder
