"""Secrets: shapes, registered values, and texts that must stay."""

import copy
import pickle

import pytest

from stead.core.secret import SHAPES, Secret, redact, remember

EXAMPLES = {
    "anthropic": "sk-ant-api03-AbCdEfGhIjKlMnOpQrSt",
    "openrouter": "sk-or-v1-0123456789abcdef0123",
    "openai project": "sk-proj-AbCdEfGh_IjKlMnOpQr",
    "openai, deepseek": "sk-AbCdEfGhIjKlMnOpQrSt",
    "hugging face": "hf_AbCdEfGhIjKlMnOpQrSt",
    "hugging face org": "api_org_AbCdEfGhIjKlMnOpQrSt",
    "github": "ghp_AbCdEfGhIjKlMnOpQrStUv",
    "github fine-grained": "github_pat_11ABCDEFG0abcdefghij_xyz",
    "gitlab": "glpat-AbCdEfGhIjKlMnOpQr",
    "google": "AIzaSyA0123456789abcdefghijklmnopqrstuv",
    "google oauth": "ya29.a0AfH6SMBx0123456789abcd",
    "groq": "gsk_AbCdEfGhIjKlMnOpQrSt",
    "xai": "xai-AbCdEfGhIjKlMnOpQrSt",
    "perplexity": "pplx-AbCdEfGhIjKlMnOpQrSt",
    "fireworks": "fw_AbCdEfGhIjKlMnOpQrSt",
    "replicate": "r8_AbCdEfGhIjKlMnOpQrSt",
    "nvidia": "nvapi-AbCdEfGhIjKlMnOpQrSt",
    "anyscale": "esecret_AbCdEfGhIjKlMnOpQrSt",
    "together": "tgp_v1_AbCdEfGhIjKlMnOpQrSt",
    "aws access key": "AKIA" + "ABCDEFGHIJKLMNOP",
    "slack": "xoxb-0123456789-abcdef",
    "stripe": "sk_" + "live_AbCdEfGhIjKlMnOpQr",
    "npm": "npm_AbCdEfGhIjKlMnOpQrStUv",
    "pypi": "pypi-AgEIcHlwaS5vcmcCJDAwMDA",
    "weights & biases": "wandb_v1_AbCdEfGhIjKlMnOp",
    "json web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "stead key": "sk-stead-" + "a1b2c3d4e5f6-" + "Ab_-" * 10,
    "stead": "stead-admin-AbCdEfGhIjKlMnOp",
}


def test_every_shape_has_an_example() -> None:
    assert EXAMPLES.keys() == SHAPES.keys()
    assert len(SHAPES) >= 20


@pytest.mark.parametrize("frame", ["{}", "key={}&x=1", '{{"k": "{}"}}', "Authorization: Bearer {}"])
@pytest.mark.parametrize("key", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_a_key_of_a_known_shape_is_taken_out_of_any_text(key: str, frame: str) -> None:
    shown = redact(f"before {frame.format(key)} after")

    assert key not in shown
    assert "***" in shown
    assert shown.startswith("before ")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password=hunter22", "password=***"),
        ('"api_key": "abcd1234"', '"api_key": "***"'),
        ("postgresql://user:pa55word@host/db", "postgresql://user:***@host/db"),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer ***"),
    ],
)
def test_a_value_that_is_named_a_secret_is_taken_out(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "step 12  loss 2.345  tokens/s 1190",
        "saved runs/20260101-sft-abc123/checkpoints/step-00000200",
        "tokens: 1234 of 5678",
        "plan 3f2a" + "0" * 60,
        "task-sk-learn and hf_hub",
        "there is no key 'trainer.lrr'; did you mean 'trainer.lr'?",
    ],
)
def test_ordinary_lines_stay_as_they_are(text: str) -> None:
    assert redact(text) == text


def test_a_private_key_block_is_taken_out_whole() -> None:
    text = "x\n-----BEGIN RSA PRIVATE KEY-----\nabc\ndef\n-----END RSA PRIVATE KEY-----\ny"

    assert redact(text) == "x\n***\ny"


def test_a_registered_value_is_taken_out_whatever_its_shape() -> None:
    remember("correct horse battery")

    assert redact("say correct horse battery now") == "say *** now"


def test_a_short_value_is_not_registered() -> None:
    remember("short")

    assert redact("a short line") == "a short line"


@pytest.mark.spec("001-059")
def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = Secret("swordfish-0001")

    assert secret.reveal() == "swordfish-0001"
    shown = f"{secret} {secret!r} {secret:>5} {[secret]}"
    assert "swordfish" not in shown
    assert "swordfish" not in redact("leaked swordfish-0001")
    assert (secret == Secret("swordfish-0001"), secret == "swordfish-0001") == (True, False)


@pytest.mark.parametrize("leave", [pickle.dumps, copy.deepcopy])
def test_a_secret_does_not_leave_the_process(leave: object) -> None:
    with pytest.raises(TypeError):
        leave(Secret("swordfish-0002"))  # type: ignore[operator]
