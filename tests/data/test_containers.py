"""Zips and folders of objects: what is found in them, and what is refused before it is unpacked."""

from __future__ import annotations

import zipfile

import pytest

from gmcn.artifacts import read_metadata
from gmcn.data import containers, sample
from gmcn.data.containers import contents, digest, find_members, labelled, read_member
from gmcn.errors import InputError

FILES = {
    "set/chair/train/b.off": b"chair b",
    "set/chair/test/a.OFF": b"chair a",
    "set/bed/train/c.obj": b"bed c",
    "set/bed/train/.hidden.off": b"",
    ".git/set/bed/train/d.off": b"",
    "set/bed/train/.ipynb_checkpoints/train/e.off": b"",
    "__MACOSX/set/bed/train/c.off": b"",
    "set/README.off": b"",
}
KEYS = ["bed/train/c", "chair/test/a", "chair/train/b"]


@pytest.fixture(params=["zip", "windows", "folder"])
def container(tmp_path, request):
    if request.param != "folder":
        with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in FILES.items():
                archive.writestr(name if request.param == "zip" else name.replace("/", "\\"), content)
        return tmp_path / "set.zip"
    for name, content in FILES.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "folder"


def test_objects_and_their_labels(container):
    members, _ = find_members(container, (".off", ".obj"))
    assert [member.key for member in members] == KEYS
    assert [content for _, _, content in contents(container, members)] == [b"bed c", b"chair a", b"chair b"]
    found = labelled(members)
    assert found["labels"].tolist() == [0, 1, 1]
    assert found["split"].tolist() == [0, 1, 0]
    assert found["names"] == ["c", "a", "b"]
    assert found["class_names"] == ["bed", "chair"]
    assert labelled(members, ["chair", "bed"])["labels"].tolist() == [1, 0, 0]


def test_other_formats_are_counted_in_a_warning(container, caplog):
    find_members(container, (".off",))
    assert "1 files of another format are left out (set/bed/train/c.obj" in caplog.text


def test_objects_outside_of_the_layout_are_warned_of_and_listed(tmp_path, caplog):
    places = ("cup/train/a", "cup/test/b", "cup/Train/x", "cup/val/x", "cup/loose", "cup/train/deep/x")
    for place in places:
        path = tmp_path / "mine" / f"{place}.xyz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1 2 3\n" * 8)
    settings = {"kind": "clouds", "path": str(tmp_path / "mine"), "points": 8}
    sample("mine", settings=settings, downloads=None, output=tmp_path / "a.safetensors")
    assert "4 files do not lie in <class>/<train|test>/ and are left out (cup/Train/x.xyz ...)" in caplog.text
    assert read_metadata(tmp_path / "a.safetensors")["left_out"] == sorted(f"{place}.xyz" for place in places[2:])


def test_equal_names_become_different_ones(tmp_path, caplog):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("cup/train/a.npy", "cup/train/a.txt", "cup/train/b.txt", "cup/train/c.txt", "x/cup/train/c.txt"):
            archive.writestr(name, b"")
    members, _ = find_members(tmp_path / "a.zip", (".npy", ".txt"))
    assert [member.name for member in members] == ["a.npy", "a.txt", "b", "cup/train/c.txt", "x/cup/train/c.txt"]
    assert "4 objects share their name with another" in caplog.text


def test_links_back_end_and_links_to_nowhere_are_bad_objects(tmp_path):
    folder = tmp_path / "mine" / "cup" / "train"
    folder.mkdir(parents=True)
    (folder / "a.xyz").write_text("1 2 3\n" * 8)
    (folder / "gone.xyz").symlink_to(tmp_path / "nowhere.xyz")
    (folder / "self").symlink_to(folder / "self")
    (folder.parent / "again").symlink_to(tmp_path / "mine")
    (folder.parent / "test").symlink_to(folder)  # another place for the same files, not a loop
    settings = {"kind": "clouds", "path": str(tmp_path / "mine"), "points": 8, "bad_objects": "skip"}
    sample("mine", settings=settings, downloads=None, output=tmp_path / "a.safetensors")
    metadata = read_metadata(tmp_path / "a.safetensors")
    assert metadata["names"] == ["a", "a"]
    assert len(metadata["refused"]) == 2
    assert all("gone.xyz cannot be read (No such file" in reason for reason in metadata["refused"].values())


def test_a_file_instead_of_a_folder(tmp_path):
    (tmp_path / "a.xyz").write_text("1 2 3\n")
    with pytest.raises(InputError, match=r"a\.xyz is neither a folder nor a zip; name the folder"):
        find_members(tmp_path / "a.xyz", (".xyz",))


def test_a_file_that_has_gone_is_one_bad_object(container):
    members, _ = find_members(container, (".off", ".obj"))
    members[1] = containers.Member("chair", "test", "a", "set/chair/test/gone.off")
    first, second, third = contents(container, members)
    assert (first[2], third[2]) == (b"bed c", b"chair b")
    assert isinstance(second, InputError)
    assert "gone.off" in str(second)


def test_the_digest_of_a_folder_depends_on_names_and_contents(tmp_path):
    seen = set()
    for name, content in (("a", b"1"), ("b", b"1"), ("b", b"2")):
        folder = tmp_path / f"{name}{content.decode()}"
        folder.mkdir()
        (folder / name).write_bytes(content)
        seen.add(digest(folder))
    assert len(seen) == 3
    assert digest(folder) in seen


def test_members_that_point_outside_write_nothing(tmp_path):
    path = tmp_path / "inside" / "set.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("../chair/train/up.off", "/chair/train/root.off", "a/../../chair/train/both.off"):
            archive.writestr(name, b"OFF")
    members, _ = find_members(path, (".off",))
    assert [member.name for member in members] == ["both", "root", "up"]
    assert [content for _, _, content in contents(path, members)] == [b"OFF"] * 3
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["inside", "set.zip"]


def test_bombs_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("ratio", bytes(12 << 20))
        archive.writestr("small", bytes(1 << 20))  # text of equal lines is compressed as much
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it was unpacked"))
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        with pytest.raises(InputError, match=r"here would unpack to 12,582,912 bytes, 10\d\d times its size"):
            read_member(archive, "ratio", "here")
        monkeypatch.setattr(containers, "MAX_MEMBER", 1000)
        with pytest.raises(InputError, match="would unpack to 1,048,576 bytes"):
            read_member(archive, "small", "here")


def test_a_member_that_is_more_than_it_says(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(1000))
    content = path.read_bytes()
    for size in (999, 1001):
        lie = content.replace((1000).to_bytes(4, "little"), size.to_bytes(4, "little"))
        assert lie != content
        path.write_bytes(lie)
        with zipfile.ZipFile(path) as archive, pytest.raises(InputError, match="here is truncated"):
            read_member(archive, "a", "here")


@pytest.mark.parametrize("container", ["zip"], indirect=True)
def test_a_zip_that_is_cut_short(container):
    content = container.read_bytes()
    for size in (0, 10, len(content) // 2, len(content) - 1):
        container.write_bytes(content[:size])
        with pytest.raises(InputError, match=r"set\.zip is truncated or damaged .*; replace it"):
            find_members(container, (".off",))


@pytest.mark.parametrize("container", ["zip"], indirect=True)
def test_an_altered_member_is_one_bad_object(container):
    content = bytearray(container.read_bytes())
    content[content.index(b"set/chair/train/b.off") + 24] ^= 0xFF
    container.write_bytes(content)
    members, _ = find_members(container, (".off", ".obj"))
    bad = [item for item in contents(container, members) if isinstance(item, InputError)]
    assert len(bad) == 1
    assert "set.zip:set/chair/train/b.off is truncated or damaged" in str(bad[0])
