import numpy as np
from PIL import Image

from tlkit import list_pictures, scan_pictures

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def test_links_are_named_that_lead_out_and_followed_when_asked(tmp_path):
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    for path in (folder / "sub", elsewhere):
        path.mkdir(parents=True)
    for path in (folder / "a.png", elsewhere / "b.png"):
        Image.fromarray(PIXELS).save(path)
    links = {"out.png": elsewhere / "b.png", "gone.png": elsewhere / "c.png", "dir": elsewhere,
             "in.png": folder / "a.png", "round": folder, "me.png": folder / "me.png",
             "sub/up.png": "../a.png", "notes.txt": elsewhere / "b.png"}  # fmt: skip
    for name, target in links.items():
        (folder / name).symlink_to(target)
    names = lambda paths: [path.relative_to(folder).as_posix() for path in paths]  # noqa: E731
    scan = scan_pictures(folder, recursive=True)
    assert names(scan.pictures) == ["a.png", "in.png", "me.png", "sub/up.png"]
    assert names(scan.outside) == ["dir", "gone.png", "out.png"]
    assert scan.others == 1
    wider = scan_pictures(folder / "sub", inside=folder)
    assert names(wider.pictures) == ["sub/up.png"]
    assert names(scan_pictures(folder / "sub").outside) == ["sub/up.png"]
    followed = scan_pictures(folder, recursive=True, follow_links=True)
    assert names(followed.pictures) == [
        "a.png", "dir/b.png", "gone.png", "in.png", "me.png", "out.png", "sub/up.png"
    ]  # fmt: skip
    assert not followed.outside
    (tmp_path / "link").symlink_to(folder)
    assert len(scan_pictures(tmp_path / "link", recursive=True).pictures) == 4


def test_listing_is_sorted_and_leaves_out_what_is_hidden_or_outside(tmp_path):
    outside = tmp_path / "outside.png"
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    for path in (outside, folder / "b.JPG", folder / "a.png", folder / ".c.png", folder / "d.txt"):
        path.write_bytes(b"")
    (folder / "sub" / "e.webp").write_bytes(b"")
    (folder / "link.png").symlink_to(outside)
    assert [path.name for path in list_pictures(folder)] == ["a.png", "b.JPG"]
    names = [path.name for path in list_pictures(folder, recursive=True)]
    assert names == ["a.png", "b.JPG", "e.webp"]
