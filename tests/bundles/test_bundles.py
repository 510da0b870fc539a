"""Run bundles: what goes in comes out, can be scored, and nothing damaged or malicious is used."""

import io
import json
import re
import tarfile
from pathlib import Path

import pytest

from algoperf_lightning import read_runs
from algoperf_lightning.bundles.read import MANIFEST_FILE, checksum_of, read_manifest, unpack
from algoperf_lightning.bundles.write import pack
from algoperf_lightning.cli import main
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.records.source import find_source
from algoperf_lightning.result import TrialResult

KEPT = Path(__file__).parents[1] / "records" / "formats" / "1"
STUDY = "adamw/study_1/digits"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / "kept.tar.xz"
    pack([KEPT], path)
    return path


def members(path):
    with tarfile.open(path) as archive:
        return [(member.name, archive.extractfile(member).read()) for member in archive]


def rewritten(path, folder, change):
    """A bundle with other members."""
    damaged = folder / "damaged.tar.xz"
    with tarfile.open(damaged, "w:xz") as archive:
        for name, content in change(members(path)):
            member = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if member is content else content
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return damaged


def test_what_is_packed_is_unpacked(bundle, tmp_path):
    manifest = unpack(bundle, tmp_path)
    files = sorted(path.relative_to(KEPT) for path in KEPT.rglob("*") if path.is_file())
    assert sorted(manifest.members) == [f"runs/1/{path.as_posix()}" for path in files]
    for path in files:
        assert (tmp_path / "runs/1" / path).read_bytes() == (KEPT / path).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


@pytest.mark.parametrize("root", [".", "adamw", STUDY, f"{STUDY}/trial_2"])
def test_names_of_a_study_are_kept_wherever_one_begins(root, tmp_path):
    pack([KEPT / root], tmp_path / "b.tar.xz")
    trials = [name for name in read_manifest(tmp_path / "b.tar.xz").members if name.endswith("trial.json")]
    assert len(trials) == (1 if "trial" in root else 2)
    assert all(f"{STUDY}/trial_" in name for name in trials)


def test_a_bundle_is_scored_as_its_folders_are(bundle, capsys):
    one, other = read_runs(KEPT, library="pandas"), read_runs(bundle, library="pandas")
    assert len(one) == 8
    assert one.drop(columns="source").equals(other.drop(columns="source"))
    assert other.source.str.startswith(f"{bundle}/1/adamw").all()
    main(["score", str(bundle)])
    assert "adamw" in capsys.readouterr().out


def cut(path, folder):
    damaged = folder / "cut.tar.xz"
    damaged.write_bytes(path.read_bytes()[:-200])
    return damaged


def text(path, folder):
    damaged = folder / "text.tar.xz"
    damaged.write_text("hello")
    return damaged


def without_manifest(path, folder):
    return rewritten(path, folder, lambda found: found[1:])


def without_a_member(path, folder):
    return rewritten(path, folder, lambda found: found[:-1])


def with_a_changed_member(path, folder):
    return rewritten(path, folder, lambda found: [*found[:-1], (found[-1][0], found[-1][1] + b" ")])


def with_another_member(path, folder):
    return rewritten(path, folder, lambda found: [*found, ("runs/more.txt", b"x")])


def with_manifest(change):
    def damage(path, folder):
        def changed(found):
            manifest = json.loads(found[0][1])
            more = change(manifest) or []
            return [(MANIFEST_FILE, json.dumps(manifest).encode()), *found[1:], *more]

        return rewritten(path, folder, changed)

    return damage


def newer(manifest):
    manifest["format"] = 2


def without_members(manifest):
    del manifest["members"]


def out_of_the_folder(manifest):
    manifest["members"]["../escaped.txt"] = "0" * 64
    return [("../escaped.txt", b"x")]


def absolute(manifest):
    manifest["members"]["/escaped.txt"] = "0" * 64
    return [("/escaped.txt", b"x")]


def link(manifest):
    member = tarfile.TarInfo("runs/link")
    member.type, member.linkname = tarfile.SYMTYPE, "/etc"
    manifest["members"]["runs/link"] = "0" * 64
    return [("runs/link", member)]


DAMAGES = {
    "cut": (cut, "is damaged"),
    "text": (text, "is not a run bundle"),
    "no list": (without_manifest, "its first member must be bundle.json"),
    "missing member": (without_a_member, "does not contain runs/1/adamw/study_1/digits/"),
    "changed member": (with_a_changed_member, "has changed since it was packed: its SHA-256 differs"),
    "unknown member": (with_another_member, "runs/more.txt is a file that bundle.json does not list"),
    "newer format": (with_manifest(newer), "has format 2, and this version"),
    "no members": (with_manifest(without_members), "bundle.json: members missing"),
    "out of the folder": (with_manifest(out_of_the_folder), "points outside of the folder"),
    "absolute": (with_manifest(absolute), "points outside of the folder"),
    "link": (with_manifest(link), "runs/link is not a regular file"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_bundles_are_refused_with_one_error(damage, bundle, tmp_path):
    change, message = DAMAGES[damage]
    damaged = change(bundle, tmp_path)
    (tmp_path / "inside").mkdir()
    with pytest.raises(BadInputError, match=message):
        unpack(damaged, tmp_path / "inside")
    assert not (tmp_path / "escaped.txt").exists()
    if damage != "no list":  # an archive of runs, which is scored as it always was
        with pytest.raises(BadInputError, match=re.escape(str(damaged))):
            read_runs(damaged)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("pack missing --output b.tar.xz", "missing is not a folder"),
        ("pack empty --output b.tar.xz", "empty contains no trial"),
        ("pack KEPT --output b.zip", r"--output must end in \.tar\.xz"),
        ("pack KEPT twins/1 --output b.tar.xz", "would both be runs/1/adamw/study_1/digits"),
        ("reproduce missing.tar.xz", "missing.tar.xz is not a run bundle"),
        ("reproduce BUNDLE", "has 2 trials: 1/adamw/study_1/digits/trial_1, .* Choose with --trial"),
        ("reproduce BUNDLE --trial trial_3", "has no such trial"),
        ("reproduce BUNDLE --tolerance -1", "--tolerance must be a number"),
        ("reproduce BUNDLE --tolerance nan", "--tolerance must be a number"),
    ],
)
def test_bad_input_is_named(arguments, message, bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    twin = tmp_path / "twins/1" / STUDY / "trial_1"
    twin.mkdir(parents=True)
    for name in ("trial.json", "evaluations.csv"):
        (twin / name).write_bytes((KEPT / STUDY / "trial_1" / name).read_bytes())
    given = [{"KEPT": str(KEPT), "BUNDLE": str(bundle)}.get(each, each) for each in arguments.split()]
    with pytest.raises(SystemExit) as end:
        main(given)
    assert end.value.code == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "b.tar.xz").exists()


# Source


def test_of_two_files_the_one_that_ran_is_found(tmp_path):
    for folder, content in (("changed", "1"), ("same", "2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.py").write_text(content)
    roots = [tmp_path / "changed", tmp_path / "same"]
    assert find_source("a.py", checksum_of(tmp_path / "same" / "a.py"), roots) == tmp_path / "same" / "a.py"
    assert find_source("a.py", "neither", roots) == tmp_path / "changed" / "a.py"
    assert find_source("b.py", "neither", roots) is None


def test_source_that_has_changed_is_packed_with_a_remark(tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    result = TrialResult.read(KEPT / STUDY / "trial_1")
    result.environment["submission_class"] = "own.Own"
    result.environment["source"] = {"own.py": "0" * 64, "gone.py": "0" * 64, "algoperf_lightning/x.py": "0" * 64}
    result.write_trial(folder)
    result.write_evaluations(folder)
    (tmp_path / "own.py").write_text("x = 1\n")
    packed = pack([folder], tmp_path / "b.tar.xz", [tmp_path])
    assert "source/own.py" in packed.members
    assert any("own.py has changed since a run used it" in remark for remark in packed.remarks)
    assert any("gone.py was not found" in remark for remark in packed.remarks)
    assert len(packed.remarks) == 2
