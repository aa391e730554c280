"""An answer never depends on the texts it travels with, whatever the architecture."""

import asyncio
import inspect
import random
from pathlib import Path
from typing import Any, Final

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification

from streamlabel.config.model import EncoderSettings, GenerativeSettings, PromptedSettings
from streamlabel.errors import ModelLoadError
from streamlabel.models import registry
from streamlabel.models.core.classifier import Classifier, Prediction, PreparedText
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.llm import transformers_text
from testing.tiny_models import build_causal
from tests.models.tiny import LABELS, PlainTransformers

pytestmark = pytest.mark.model

WORDS = "a b c the you are spam ham win prize now hello friend call me free money good bad".split()  # noqa: SIM905 easier to read
SPECIAL = ["<pad>", "<unk>", "<s>", "</s>", "<cls>", "<sep>"]
# What most architectures call their sizes; each takes what it knows.
SIZES: dict[str, Any] = {
    "vocab_size": 64, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 128, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64, "num_key_value_heads": 2, "head_dim": 8, "n_layer": 2, "n_head": 4,
    "n_embd": 32, "n_positions": 128, "embedding_size": 16, "num_layers": 2, "num_heads": 4,
    "d_kv": 8, "d_ff": 64,
}  # fmt: skip
# Sizes that an architecture takes under other names, or not at all.
OWN: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    "xlm": {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "n_langs": 1},
    "flaubert": {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "n_langs": 1},
    "funnel": {
        "block_sizes": [1, 1], "num_decoder_layers": 1, "d_head": 8, "d_inner": 64,
        "type_vocab_size": 3,
    },
    "xlnet": {"d_inner": 64},
    "xmod": {"languages": ["en"], "default_language": "en"},
    "t5": {"decoder_start_token_id": 0},
    "mt5": {"decoder_start_token_id": 0},
    "umt5": {"decoder_start_token_id": 0},
    "longformer": {"attention_window": 16},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 8},
    "squeezebert": {"embedding_size": 32},
    "nystromformer": {"num_landmarks": 8, "segment_means_seq_len": 8},
    "reformer": {
        "axial_pos_shape": [8, 16], "axial_pos_embds_dim": [16, 16], "attn_layers": ["local"],
        "attention_head_size": 8, "feed_forward_size": 64, "is_decoder": False,
    },
}  # fmt: skip
DROPPED = {
    "funnel": ("num_hidden_layers", "hidden_size", "n_layer", "num_layers"),
    "gpt_neo": ("num_hidden_layers", "n_layer"),
    "falcon": ("head_dim",),
    "xlnet": ("max_position_embeddings",),
    "distilbert": ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
}
EQUAL_LENGTHS: Final = {"convbert", "fnet", "mobilebert", "nystromformer", "yoso"}
# As a real XLNet and a real Funnel have it: the class token has a type of its own.
TEMPLATES = {"xlnet": "$A </s> <cls>:2", "funnel": "<cls>:2 $A </s>"}
ARCHITECTURES = [
    "albert", "bart", "bert", "big_bird", "biogpt", "bloom", "camembert", "convbert", "ctrl",
    "data2vec-text", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "esm", "falcon",
    "flaubert", "fnet", "funnel", "gemma", "gemma2", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox",
    "gptj", "ibert", "llama", "longformer", "mbart", "megatron-bert", "mistral", "mixtral",
    "mobilebert", "modernbert", "mpnet", "mpt", "mra", "mt5", "nomic_bert", "nystromformer",
    "openai-gpt", "opt", "phi", "phi3", "plbart", "qwen2", "qwen3", "reformer", "rembert",
    "roberta", "roberta-prelayernorm", "roformer", "squeezebert", "stablelm", "starcoder2", "t5",
    "umt5", "xlm", "xlm-roberta", "xlnet", "xmod", "yoso",
]  # fmt: skip


def build(folder: Path, kind: str, *, template: str = "<s> $A </s>") -> Path:
    """Save a tiny random sequence classifier and a word-level tokenizer; return the folder."""
    sizes = {name: size for name, size in SIZES.items() if name not in DROPPED.get(kind, ())}
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {n: i for i, n in enumerate(LABELS)}}
    torch.manual_seed(3)
    config = CONFIG_MAPPING[kind](**(sizes | OWN.get(kind, {}) | names))
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.3)
    model.save_pretrained(folder)
    vocabulary = {word: i for i, word in enumerate(SPECIAL + WORDS)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.normalizer = normalizers.Lowercase()
    backend.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(word, i) for i, word in enumerate(SPECIAL)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>", bos_token="<s>",
        eos_token="</s>", cls_token="<cls>", sep_token="<sep>", model_max_length=64,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def texts() -> list[str]:
    chosen = random.Random(2)
    lengths = [1, 1, 2, 3, 4, 5, 7, 8, 8, 11, 15, 16, 17, 23, 30, 31]
    return [" ".join(chosen.choices(WORDS, k=length)) for length in lengths]


def scores(classifier: Classifier, batches: list[list[str]]) -> dict[str, tuple[float, ...]]:
    """Return the probabilities of every text, classified in these batches."""

    async def ask() -> dict[str, tuple[float, ...]]:
        found = {}
        for batch in batches:
            prepared = [p for p in await classifier.prepare(batch) if isinstance(p, PreparedText)]
            answers = await classifier.classify(prepared)
            for text, answer in zip(batch, answers, strict=True):
                assert isinstance(answer, Prediction), answer
                found[text] = answer.probabilities or ()
        return found

    return asyncio.run(ask())


def assert_independent(classifier: Classifier, *, within: float = 1e-5) -> None:
    chosen = random.Random(4)
    alone = scores(classifier, [[text] for text in texts()])
    for size in (2, 5, 16):
        mixed = chosen.sample(texts(), k=16)
        together = scores(classifier, [mixed[i : i + size] for i in range(0, 16, size)])
        for text, probabilities in together.items():
            assert probabilities == pytest.approx(alone[text], abs=within)
    asyncio.run(classifier.close())


def assert_as_transformers(classifier: Classifier, folder: Path) -> None:
    plain = PlainTransformers(folder)
    takes = inspect.signature(plain.model.forward).parameters
    answers = scores(classifier, [texts()[:6]])
    for text, probabilities in answers.items():
        inputs = {
            name: tensor
            for name, tensor in plain.tokenizer(text, return_tensors="pt").items()
            if name in takes
        }
        with torch.inference_mode():
            expected = plain.model(**inputs).logits[0].softmax(-1).tolist()
        assert probabilities == pytest.approx(expected, abs=1e-4)


# transformers' own code, not ours
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_an_answer_is_the_same_alone_in_company_and_in_transformers(
    kind: str, tmp_path: Path
) -> None:
    folder = build(tmp_path, kind, template=TEMPLATES.get(kind, "<s> $A </s>"))
    classifier = registry.load(EncoderSettings(path=str(folder), device="cpu", threads=1))
    company = classifier.identity.details["company"]
    assert ("rows of one length only" in company) == (kind in EQUAL_LENGTHS)
    assert ("padded on the left" in company) == (kind == "xlnet")
    assert_as_transformers(classifier, folder)
    assert_independent(classifier)


TASK = {"labels": [{"name": "ham", "answers": ["No"]}, {"name": "spam", "answers": ["Yes"]}]}
# Those that carry a state from token to token may see the padding in front of a row.
CAUSAL: dict[str, dict[str, Any]] = {
    "Qwen2": {},
    "Llama": {},
    "Mistral": {},
    "GPT2": {},
    "GPTNeoX": {},
    "Bloom": {},
    "OPT": {"ffn_dim": 256, "word_embed_proj_dim": 128},
    "Mamba": {},
    "Rwkv": {"attention_hidden_size": 128},
}


def causal_settings(folder: Path, kind: str, **settings: object) -> dict[str, Any]:
    path = str(build_causal(folder, kind=kind, **CAUSAL[kind]))
    return {"path": path, "device": "cpu", "threads": 1, "max_tokens": 512, "task": TASK} | settings


@pytest.mark.parametrize("reuse_prefix", [True, False])
@pytest.mark.parametrize("kind", CAUSAL)
def test_a_first_token_is_the_same_alone_and_in_company(
    kind: str, reuse_prefix: bool, tmp_path: Path
) -> None:
    settings = causal_settings(tmp_path, kind, reuse_prefix=reuse_prefix)
    classifier = registry.load(GenerativeSettings.model_validate(settings))
    assert ("rows of one length" in classifier.identity.details["company"]) == (kind == "Rwkv")
    assert_independent(classifier)


@pytest.mark.parametrize("kind", ["Qwen2", "GPT2", "Bloom"])
def test_what_is_written_is_the_same_alone_and_in_company(kind: str, tmp_path: Path) -> None:
    settings = PromptedSettings.model_validate(causal_settings(tmp_path, kind))
    engine = transformers_text.load(settings, LabelSet(("ham", "spam")))

    async def write(batches: list[list[str]]) -> dict[str, object]:
        written: dict[str, object] = {}
        for batch in batches:
            encoded = await engine.encode(batch, [None] * len(batch))
            prompts = [prompt for prompt in encoded if isinstance(prompt, PreparedText)]
            answers = await engine.generate_text(prompts, max_tokens=12, json_schema={})
            written.update(zip(batch, answers, strict=True))
        return written

    async def both() -> tuple[dict[str, object], dict[str, object]]:
        found = await write([[text] for text in texts()]), await write([texts()])
        await engine.close()
        return found

    assert "padded on the left" in engine.identity.details["company"]
    alone, together = asyncio.run(both())
    assert together == alone


def test_a_model_whose_texts_change_each_other_while_it_writes_is_refused(tmp_path: Path) -> None:
    settings = PromptedSettings.model_validate(causal_settings(tmp_path, "Rwkv"))
    with pytest.raises(ModelLoadError, match="depends on the other texts of the batch"):
        registry.load(settings)
