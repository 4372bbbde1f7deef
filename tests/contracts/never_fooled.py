"""Models that know nothing, and a small data set for every task, in which no guess is better.

`DATA` has a factory for each task: folder -> the data sets that it is tried on, each with options.
"""

import hashlib
import io
import itertools
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image

from tests.eval.conftest import Pixels
from vlp.data.index import caption_sha256, sidecar_path, write_index
from vlp.data.numbers import NUMBERS
from vlp.data.tar import write_tar

WIDTH = 256  # wide enough for the scores of random features to be as good as independent
CLASSES = ("apple", "boat", "cat", "door", "egg", "fox", "goat", "hat")
KINDS = ("object", "attribute", "order")


class Knows:
    """Nothing but how pictures and texts are given; its features are for others to say."""

    device = torch.device("cpu")
    fingerprint = "0" * 64
    preprocess = Pixels()
    protocol = {"context_length": 8, "logit_scale": 10.0}  # noqa: RUF012
    description = {"model": "nothing", "pretrained": "none"}  # noqa: RUF012
    captions = True

    def truncated(self, texts):
        return sum(len(text.split()) > 8 for text in texts)

    def caption(self, images, **how):
        return ["a picture"] * len(images)


class Constant(Knows):
    """Says the same of everything."""

    def encode_image(self, images):
        return F.normalize(torch.ones(len(images), WIDTH), dim=-1)

    def encode_text(self, texts):
        return F.normalize(torch.ones(len(texts), WIDTH), dim=-1)

    def encode_no_text(self, texts):
        return self.encode_text(texts)


class Random(Knows):
    """A feature is a hash of what it is a feature of, so no picture has to do with any text."""

    def __init__(self, seed):
        self.seed = seed

    def encode_image(self, images):
        return self.drawn("image", [image.numpy().tobytes() for image in images])

    def encode_text(self, texts):
        return self.drawn("text", [text.encode() for text in texts])

    def encode_no_text(self, texts):
        return self.drawn("no", [text.encode() for text in texts])

    def drawn(self, what, contents):
        rows = []
        for content in contents:
            digest = hashlib.sha256(f"{self.seed} {what} ".encode() + content).digest()
            rows.append(np.random.default_rng(list(digest)).normal(size=WIDTH))
        return F.normalize(torch.from_numpy(np.stack(rows)).float(), dim=-1)


class ConstantPictures(Random):
    """Says the same of every picture."""

    encode_image = Constant.encode_image


class ConstantTexts(Random):
    """Says the same of every text."""

    encode_text = encode_no_text = Constant.encode_text


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def class_folders(root, seed, **splits):
    """`splits` says how many pictures of each class a split has."""
    for number, (split, count) in enumerate(splits.items()):
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for k in range(count):
                data = picture([seed, number, label, k])
                (folder / f"{k}.png").write_bytes(data)
    return root


def shards(root, captions, negatives=None):
    """An indexed shard with a picture for each list of captions, and near misses beside it."""
    test = root / "test"
    test.mkdir(parents=True)
    samples = []
    for n, own in enumerate(captions):
        record = json.dumps({"captions": own}).encode()
        members = {"png": picture([7, n]), "txt": own[0].encode(), "json": record}
        samples.append((f"{n:09d}", members))
    shard = test / "00000.tar"
    write_tar(shard, samples)
    write_index(shard)
    if negatives:
        rows = [
            {
                "key": f"{n:09d}",
                "src_sha256": caption_sha256(own[0].encode()),
                "texts": [text for _, text in missed],
                "kinds": [kind for kind, _ in missed],
            }
            for n, (own, missed) in enumerate(zip(captions, negatives, strict=True))
        ]
        path = sidecar_path(shard, "negatives")
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), path)
    return root


def classes(folder):
    return [(class_folders(folder / "classes", 0, test=12), {})]


def training_split(folder):
    return [(class_folders(folder / "classes", 1, train=10, test=12), {})]


def some_shots(folder):
    return [(training_split(folder)[0][0], {"shots": 4})]


def benchmark(root, kind, members):
    """CLIP_benchmark's layout."""
    (root / "test").mkdir(parents=True)
    (root / "dataset_type.txt").write_text(f"{kind}\n")
    (root / "classnames.txt").write_text("\n".join(CLASSES))
    (root / "test" / "nshards.txt").write_text("1")
    samples = [(f"s{n:07d}", {"png": picture([8, n]), **own}) for n, own in enumerate(members)]
    write_tar(root / "test" / "0.tar", samples)
    return root


def vector(values):
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(values, dtype=np.float32))
    return buffer.getvalue()


def several_labels(folder):
    """From few pictures of a class to more than half of them."""
    labels = np.random.default_rng(0).random((80, len(CLASSES))) < np.linspace(0.1, 0.6, 8)
    members = [{"npy": vector(row)} for row in labels]
    return [(benchmark(folder / "several", "multilabel", members), {})]


def groups(folder):
    """Labels, and beside them metadata of which group a picture is."""
    members = [
        {"cls": str(n % len(CLASSES)).encode(), "npy": vector([n % 3, n % 2])} for n in range(96)
    ]
    return [(benchmark(folder / "groups", "classification", members), {})]


def classes_and_groups(folder):
    return [*classes(folder), *groups(folder)]


def outside(folder):
    sets = [class_folders(folder / f"outside_{k}", 2 + k, test=6 + 2 * k) for k in range(2)]
    return [(classes(folder)[0][0], {"ood": list(map(str, sets))})]


def shifted(folder):
    """The second has only some of the classes."""
    sets = [class_folders(folder / f"shifted_{k}", 4 + k, test=8) for k in range(2)]
    for name in CLASSES[5:]:
        shutil.rmtree(sets[1] / "test" / name)
    return [(classes(folder)[0][0], {"shifted": list(map(str, sets))})]


def captions(folder):
    """Two a picture; every other one is cut."""
    texts = [[f"scene {n}", f"a scene that is number {n} of very many"] for n in range(60)]
    texts = [own[:: 1 - 2 * (n % 2)] for n, own in enumerate(texts)]
    return [(shards(folder / "captions", texts), {})]


def numbers(folder):
    """Each number as often as the others."""
    words = list(NUMBERS.values())
    texts = [[f"{words[n % len(words)]} things in scene no. {n}"] for n in range(90)]
    return [(shards(folder / "numbers", texts), {})]


def near_misses(folder):
    """The sidecar: from one to three of several kinds."""
    texts = [[f"a red scene {n}"] for n in range(60)]
    missed = [
        [(kind, f"a {kind} scene {n}") for kind in KINDS[: 1 + n % 3]] for n in range(len(texts))
    ]
    missed[0] += [("order", "scene red a 0")]
    return [(shards(folder / "near_misses", texts, missed), {})]


def crosswise(folder):
    """Winoground's layout."""
    root = folder / "crosswise"
    (root / "images").mkdir(parents=True)
    lines = []
    for n in range(60):
        for k in (0, 1):
            (root / "images" / f"{n}_{k}.png").write_bytes(picture([9, n, k]))
        item = {"id": n, "collapsed_tag": KINDS[n % 3]}
        item |= {f"image_{k}": f"{n}_{k}" for k in (0, 1)}
        item |= {f"caption_{k}": f"{('a', 'no')[k]} thing {n}" for k in (0, 1)}
        lines.append(json.dumps(item))
    (root / "examples.jsonl").write_text("\n".join(lines))
    return [(root, {})]


def choices(folder):
    return [*near_misses(folder), *crosswise(folder)]


def judgements(folder):
    """Flickr8k's two files of ratings."""
    root = folder / "judgements"
    (root / "images").mkdir(parents=True)
    generator = np.random.default_rng(0)
    names = [f"{n}.jpg" for n in range(40)]
    for n, name in enumerate(names):
        (root / "images" / name).write_bytes(picture([10, n]))
    ids = [f"{name}#0" for name in names]
    tokens = [f"{one}\ta thing that is {one}" for one in ids]
    (root / "Flickr8k.token.txt").write_text("\n".join(tokens))
    pairs = [pair for pair in itertools.product(names, ids) if generator.random() < 0.1]
    expert = ["\t".join([*pair, *map(str, generator.integers(1, 5, 3))]) for pair in pairs]
    crowd = ["\t".join([*pair, f"{generator.integers(0, 4) / 3:.2f}", "2", "1"]) for pair in pairs]
    (root / "ExpertAnnotations.txt").write_text("\n".join(expert))
    (root / "CrowdFlowerAnnotations.txt").write_text("\n".join(crowd))
    return [(root, {"split": "expert"}), (root, {"split": "crowd"})]


DATA = {
    "zeroshot_classification": classes_and_groups,
    "zeroshot_multilabel": several_labels,
    "linear_probe": training_split,
    "few_shot": some_shots,
    "calibration": classes,
    "ood_detection": outside,
    "robustness_gap": shifted,
    "retrieval": captions,
    "long_caption_retrieval": captions,
    "counting": numbers,
    "image_caption_selection": choices,
    "geometry": captions,
    "captioning": captions,
    "human_judgement": judgements,
}
