"""The small suite: its sizes, its data, and what is difficult about them."""

import dataclasses
import io
import itertools
import shutil
from collections import Counter

import h5py
import numpy as np
import pytest

from algoperf_lightning.commands import data as data_command
from algoperf_lightning.data import DataNotFoundError
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.packaged_data import read_digits, read_documents
from algoperf_lightning.plugins import get_workload
from algoperf_lightning.registry import find_workload, get_spec
from algoperf_lightning.scoring.benchmarks import official_workloads
from algoperf_lightning.sizes import SIZES, at_size, size_of
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.tuning.suites import get_suite
from algoperf_lightning.workloads.criteo1tb.parsing import parse
from algoperf_lightning.workloads.criteo1tb.small import SIZES as COLUMNS
from algoperf_lightning.workloads.criteo1tb.small import ClickLog
from algoperf_lightning.workloads.fastmri.phantoms import SMALL as SCAN
from algoperf_lightning.workloads.fastmri.phantoms import Scan, volume_bytes
from algoperf_lightning.workloads.imagenet import small as pictures
from algoperf_lightning.workloads.imagenet.spec import SMALL_CLASSES, TEST_FOLDER, TRAIN_FOLDER, VALIDATION_FOLDER
from algoperf_lightning.workloads.librispeech import small as speech
from algoperf_lightning.workloads.ogbg.small import codes_of, make_labels, make_molecule
from algoperf_lightning.workloads.wmt.small import FREQUENT, clauses, make_language, phrases

SMALL = get_suite("small", "1.0").choose([])


def random():
    return np.random.RandomState(0)


def test_the_suite_is_the_nine_at_small_size_in_steps():
    suite = get_suite("small", "1.0")
    assert set(SMALL) == {f"{name}_small" for name in official_workloads("1.0")}
    assert suite.choose(["wmt"]) == ["wmt_small"]
    assert suite.unit == "steps"


@pytest.mark.parametrize("name", SMALL)
def test_a_workload_is_small(name, tmp_path):
    spec = find_workload(name)
    assert spec.full_name == name
    assert spec.size == size_of(name) == "small"
    assert not spec.is_tiny
    assert spec.splits["validation"] >= 200
    assert 1_000 <= spec.step_hint <= 2_000
    unit, period = spec.allowance(unit="steps")
    assert 5 <= unit / period <= 12
    full = get_spec(spec.name)
    assert (spec.metric, spec.direction, spec.loss_type, spec.dropout) == (
        full.metric,
        full.direction,
        full.loss_type,
        full.dropout,
    )
    workload = get_workload(spec.name)(PlainSGD(), small=True, data_dir=tmp_path)
    assert sum(p.numel() for p in workload.build_model().parameters()) < 400_000
    with pytest.raises(DataNotFoundError, match=rf"small/.*`algoperf data small {spec.name} --data-dir {tmp_path}`"):
        workload.data.require_files()


def test_a_workload_has_one_size_at_a_time():
    with pytest.raises(BadInputError, match="wmt: tiny and small are two sizes"):
        get_spec("wmt").of(tiny=True, small=True)
    with pytest.raises(BadInputError, match=r"mnist has no small size\. Leave out small"):
        get_spec("mnist").of(small=True)
    assert [at_size(size) for size in (None, *SIZES)] == [{}, {"tiny": True}, {"small": True}]


def test_packaged_data():
    images, labels = read_digits()
    assert images.shape == (1_797, 8, 8)
    assert images.max() == 16
    assert np.bincount(labels).min() >= 174
    documents = read_documents()
    assert len(documents) == 783
    assert min(map(len, documents)) >= 200


def test_clicks_are_as_criteos():
    lines = ClickLog(random()).day(3, 2_000).splitlines(keepends=True)
    rows = [line.rstrip(b"\n").split(b"\t") for line in lines]
    assert {len(row) for row in rows} == {40}
    assert 0.02 < np.mean([row[0] == b"1" for row in rows]) < 0.4
    widest = Counter(row[14 + int(np.argmax(COLUMNS))] for row in rows)
    (_, most), *_ = widest.most_common(1)
    assert most > 40
    assert sum(count == 1 for count in widest.values()) > 300
    assert len(parse(b"".join(lines))) == 2_000


def test_labels_of_molecules_follow_from_their_neighbourhoods():
    generator = random()
    molecules = [make_molecule(generator) for _ in range(300)]
    for molecule in molecules[:20]:
        atoms, bonds = molecule.features()
        assert len(atoms) == len(molecule.elements)
        assert len(bonds) == len(molecule.bonds)
        assert {atom for bond in molecule.bonds for atom in bond} == set(range(len(atoms)))  # it is in one piece
    counts = np.zeros((len(molecules), 2_048))
    for row, molecule in enumerate(molecules):
        found = codes_of(molecule)
        assert sum(found.values()) == 3 * len(molecule.elements)
        counts[row, list(found)] = np.log1p(list(found.values()))
    labels = make_labels(counts, generator)
    shares = np.nanmean(labels, axis=0)
    assert labels.shape == (300, 128)
    assert shares[:20].mean() < 0.06 < 0.2 < shares[-20:].mean()
    assert 0.1 < np.isnan(labels).mean() < 0.7
    assert not np.isnan(labels).all(axis=1).any()


def test_training_images_are_long_tailed_and_some_have_wrong_labels(tmp_path, monkeypatch):
    painted = []
    monkeypatch.setattr(pictures._Painter, "paint", lambda _, label: painted.append(label) or np.zeros((8, 8, 3), "u1"))
    counts = {TRAIN_FOLDER: 1_200, VALIDATION_FOLDER: 80, TEST_FOLDER: 40}
    monkeypatch.setattr(pictures, "SMALL_IMAGES", counts)
    pictures.write_small_images(tmp_path, random())
    train = {int(path.stem.split("_")[1]): int(path.parent.name[1:]) for path in tmp_path.glob(f"{TRAIN_FOLDER}/*/*")}
    wrong = np.mean([painted[number] != label for number, label in train.items()])
    assert 0.03 < wrong < 0.07
    sizes = np.bincount(list(train.values()), minlength=SMALL_CLASSES)
    assert sizes.max() > 3 * sizes.min() > 0
    for split, count in ((VALIDATION_FOLDER, 2), (TEST_FOLDER, 1)):
        assert [len(list(folder.iterdir())) for folder in (tmp_path / split).iterdir()] == [count] * SMALL_CLASSES


def test_colour_tells_some_classes_but_not_all():
    generator = random()
    painter = pictures._Painter(*read_digits(), pictures._Fabrics(generator), generator)
    colours = np.array([[painter.paint(label).mean((0, 1)) for label in range(SMALL_CLASSES)] for _ in range(6)])
    means, shown = colours[:4].mean(0), colours[4:].reshape(-1, 3)
    nearest = np.linalg.norm(shown[:, None] - means, axis=2).argmin(1)
    assert 0.1 < np.mean(nearest == np.tile(np.arange(SMALL_CLASSES), 2)) < 0.6


def read_volume(scan, seed):
    with h5py.File(io.BytesIO(volume_bytes(np.random.RandomState(seed), "made up", scan))) as file:
        return file["kspace"][:], file["reconstruction_esc"][:]


def test_volumes_are_of_one_anatomy():
    kspace, target = read_volume(SCAN, 1)
    assert kspace.shape in {(8, 48, 38), (8, 48, 40)}
    assert target.shape == (8, 24, 24)

    def likeness(scan):
        (_, first), (_, second) = read_volume(scan, 1), read_volume(scan, 2)
        return np.corrcoef(first.ravel(), second.ravel())[0, 1]

    assert likeness(SCAN) < 0.9
    assert likeness(SCAN) > likeness(dataclasses.replace(SCAN, variation=1.0)) + 0.1
    assert read_volume(Scan(), 1)[1].shape == (8, 64, 64)


def test_the_made_up_language_is_a_function_of_english():
    language = make_language(random(), [f"word{number}" for number in range(FREQUENT - 1)] + ["of"])
    assert len(set(language.words.values())) == FREQUENT
    of, zebra = language.word("of"), language.word("zebra")
    assert (of, zebra) == (language.words["of"], "zebra")
    assert language.phrase(["zebra", "of", "zebras"]) == f"zebra mezebra {of}"  # the ending is a beginning, "of" moves
    assert language.phrase(["of", "the", "zebra", "of", "zebra"]) == f"zebranost {of} zebra {of}"
    assert language.phrase(["the", "lizard"]) == "lizardost"  # it ends with a consonant


def test_phrases_are_frequent_words_of_the_text():
    text = clauses(["Call the method of the class; it returns the class.", "Call the method of the class!"])
    assert [" ".join(clause) for clause in text if clause] == [
        "call the method of the class",
        "it returns the class",
        "call the method of the class",
    ]
    known = {"call", "the", "method", "of", "class", "it"}
    assert list(phrases(text, known)) == [
        ("call", "the", "method", "of", "the"),
        ("of", "the", "class"),
        ("it", "the", "class"),
    ]


def test_voices_say_words_that_fit():
    generator = random()
    texts = list(itertools.islice(speech.transcripts(generator), 200))
    assert all(2 <= len(text) <= speech.MOST_CHARACTERS for text in texts)
    sounds = speech.Sounds(generator)
    voice = speech.Voice(sounds, generator, noisy=True)
    recordings = [voice.speak(text) for text in texts[:10]]
    assert all(sound.dtype == np.int16 and 1_000 < len(sound) <= speech.LONGEST for sound in recordings)
    assert all(np.abs(sound.astype(float)).max() > 300 for sound in recordings)
    # Of the models, 640 samples each: CTC needs one for each letter, one between equal ones, and two for the ends.
    frames = [len(sound) // 640 for sound in recordings]
    assert all(
        count >= len(text) + sum(map(str.__eq__, text, text[1:])) + 2
        for count, text in zip(frames, texts[:10], strict=True)
    )


def test_data_command_writes_checks_and_keeps(tmp_path, capsys):
    there = ["--data-dir", str(tmp_path)]
    data_command.run(["small", "finewebedu_lm", *there])
    folder = tmp_path / "small" / "fineweb_edu_10B"
    written = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    data_command.run(["small", "finewebedu_lm", *there])
    data_command.run(["check", "finewebedu_lm_small", *there])
    assert written == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert capsys.readouterr().out.count("finewebedu_lm_small: ready") == 3
    (folder / "vocab.bpe").write_text("#version: 0.2\n")
    with pytest.raises(DataNotFoundError, match=r"vocab.bpe is damaged.*`algoperf data small finewebedu_lm "):
        data_command.run(["check", "finewebedu_lm_small", *there])
    (folder / "SMALL").write_text("Edition 0")  # data of an older design are written anew
    data_command.run(["small", "finewebedu_lm", *there])
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(BadInputError, match="contains files that are not a small data set"):
        data_command.run(["small", "finewebedu_lm", *there])
