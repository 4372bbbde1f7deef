"""Further Hugging Face folders: SigLIP 2 with Gemma's tokenizer, weights in pickles."""

import json
import shutil

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoModel, SiglipConfig, SiglipModel

import vlp
from tests.vlp.huggingface_folders import FAMILIES, PICTURES, TOWER, VISION, build_folder
from vlp.errors import InputError

gemma = pytest.importorskip("transformers.models.gemma.tokenization_gemma")
PIECES = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *"abcdefghijklmnopqrstuvwxyzABC", "▁a"]
LENGTH = 12
TEXTS = ["a cab", "A CAB", "b", "", "a very long text of many letters"]


@pytest.fixture(scope="module")
def siglip2(tmp_path_factory):
    """As google/siglip2-*-patch*-*: towers of SigLIP, Gemma's tokenizer with an end token."""
    folder = tmp_path_factory.mktemp("siglip2")
    torch.manual_seed(0)
    try:
        tokenizer = gemma.GemmaTokenizer(
            vocab={piece: i for i, piece in enumerate(PIECES)},
            merges=[("▁", "a")],
            add_bos_token=False,
            add_eos_token=True,
            model_max_length=64,
        )
    except TypeError:
        pytest.skip("transformers 4 makes this tokenizer from a file of sentencepiece alone")
    tokenizer.save_pretrained(folder)
    text = {**TOWER, "num_hidden_layers": 2, "max_position_embeddings": LENGTH}
    text |= {"vocab_size": len(PIECES), "projection_size": 32}
    text |= {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=VISION))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PICTURES["siglip"]))
    return folder


def by_hand(texts):
    """Ids as these models were trained: lower case, pieces, end, padding on the right."""
    rows = []
    for text in texts:
        pieces = text.lower().replace(" a", "\0").replace(" ", "▁")
        ids = [PIECES.index("▁a" if piece == "\0" else piece) for piece in pieces]
        rows.append([*ids[: LENGTH - 1], 1] + [0] * (LENGTH - 1 - len(ids)))
    return torch.tensor(rows)


def test_texts_of_siglip_2_are_lower_cased_ended_and_padded_on_the_right(siglip2):
    encoder = vlp.load(siglip2, "cpu")
    ids = by_hand(TEXTS)
    assert torch.equal(encoder._tokens(TEXTS)["input_ids"], ids)
    with torch.no_grad():
        found = AutoModel.from_pretrained(siglip2).eval().get_text_features(input_ids=ids)
    expected = F.normalize(getattr(found, "pooler_output", found), dim=-1)
    features = encoder.encode_text(TEXTS, report_truncated=False)
    assert (features - expected).abs().max() <= 1e-5
    assert torch.equal(features[0], features[1])
    assert encoder.truncated(TEXTS) == 1
    assert encoder.context_length == LENGTH
    assert encoder.protocol["lower_case"] is True


def test_a_tokenizer_file_that_asks_for_the_left_is_not_followed(siglip2, tmp_path):
    folder = shutil.copytree(siglip2, tmp_path / "left")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"padding_side": "left"}))
    assert torch.equal(vlp.load(folder)._tokens(TEXTS)["input_ids"], by_hand(TEXTS))


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_in_a_pickle_are_read_as_tensors_alone(family, tmp_path, capsys):
    folder = build_folder(tmp_path / family, family)
    expected = vlp.load(folder, "cpu").encode_text(["a", "two dogs"])
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    found = vlp.load(folder, "cpu").encode_text(["a", "two dogs"])
    assert (found - expected).abs().max() <= 1e-6

    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    torch.save(state | {"more": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model.bin holds more than tensors"):
        vlp.load(folder, "cpu")
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_the_weights_of_a_folder_mean_the_folder(tmp_path, name):
    folder = build_folder(tmp_path / "clip", "clip")
    if name.endswith(".bin"):
        torch.save(load_file(folder / "model.safetensors"), folder / name)
        (folder / "model.safetensors").unlink()
    encoder = vlp.load(folder / name, "cpu")
    assert encoder.path == str(folder)
