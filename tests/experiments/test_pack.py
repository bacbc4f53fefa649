import re
import sys

import numpy as np
import pytest

from videossl.datasets.index import index_videos, read_index
from videossl.datasets.ucf101 import ucf101
from videossl.experiments.cli import main
from videossl.experiments.pack import Pack, pack_videos


@pytest.fixture
def said(capsys):
    """Run the command and give what it prints, a dict of its lines by their titles, and all of it."""

    def run(root, out, **options) -> tuple[dict[str, str], str]:
        pack_videos(Pack(root, out, **{"short": 16, "workers": 1, "progress": False, **options}))
        text = capsys.readouterr().out
        return dict(re.findall(r"^(\w+) +(.*)$", text, re.M)), text

    return run


def test_the_command_says_what_was_packed_how_fast_and_how_large(tiny, tmp_path, said):
    out = tmp_path / "packed"
    lines, _ = said(tiny, out)
    sizes = [sum(path.stat().st_size for path in root.rglob(f"*{end}")) for root, end in ((out, "vpk"), (tiny, "avi"))]
    assert lines["videos"] == "18: 18 packed, 0 unreadable"
    assert re.fullmatch(r"18 packed in [\d.]+ s, \d+ frames a second; 0 kept as they were", lines["now"])
    assert lines["size"] == f"{sizes[0] / 1e6:.1f} MB, {sizes[0] / sizes[1]:.2f} of the originals"
    assert lines["frames"] == f"{18 * 24}, of {sizes[0] / 18 / 24:.0f} bytes on average"
    assert lines["folder"] == f"{out}: shorter side 16, step 4, packed from {tiny.resolve()}"
    assert said(tiny, out)[0]["now"] == "0 packed; 18 kept as they were"
    own, kept = ucf101(tiny, size=(16, 16)), ucf101(out, size=(16, 16))
    assert [r["name"] for r in own] == [r["name"] for r in kept] and kept.name.startswith("packed split 1")
    apart = own[0]["frames"][np.arange(24)].int() - kept[0]["frames"][np.arange(24)].int()
    assert apart.abs().float().mean() < 6  # of noise in full colours, which are kept at half the height and width


def test_a_folder_without_an_index_is_indexed_first(tiny, tmp_path, said):
    index = tmp_path / "i.json"
    lines, _ = said(tiny, tmp_path / "packed", index=index)
    assert lines["videos"] == "18: 18 packed, 0 unreadable"
    assert len(read_index(tiny, index)) == 18
    with pytest.raises(FileNotFoundError, match=r"no is not there, so i.json") as caught:
        said(tiny, tmp_path / "other", index=tmp_path / "no" / "i.json")
    assert not hasattr(caught.value, "__notes__")
    with pytest.raises(IsADirectoryError, match="--out is the file to write") as caught:
        said(tiny, tmp_path / "other", index=tmp_path)
    assert caught.value.__notes__ == ["for packing, that FILE is given with --index"]


def test_unreadable_videos_are_named_the_first_of_them(tiny, tmp_path, said):
    for n in range(25):
        (tmp_path / "videos" / f"{n:02}").mkdir(parents=True)
        (tmp_path / "videos" / f"{n:02}" / "zero.avi").write_bytes(b"")
    source = tiny / "Up" / "v_Up_g01_c01.avi"
    (tmp_path / "videos" / "00" / "fine.avi").write_bytes(source.read_bytes())
    index_videos(tmp_path / "videos", workers=1, progress=False)
    lines, text = said(tmp_path / "videos", tmp_path / "packed")
    assert lines["videos"] == "26: 1 packed, 25 unreadable"
    assert "Unreadable, and counted as such:\n  00/zero.avi is empty (0 bytes)\n" in text
    assert "19/zero.avi" in text and "20/zero.avi" not in text and "... and 5 more, see" in text


def test_the_command_line_packs_and_refuses_in_one_line(tiny, tmp_path, monkeypatch, capsys):
    words = ["videossl", "pack", str(tiny), "--out", str(tmp_path / "packed"), "--short", "16", "--step", "3"]
    monkeypatch.setattr(sys, "argv", [*words, "--workers", "1"])
    main()
    assert "18 packed, 0 unreadable" in capsys.readouterr().out
    for wrong, why in (
        ([*words[:3], "--out", str(tiny / "packed")], "lies in"),
        ([*words, "--step", "0"], "step is 0"),
        ([*words, "--short", "8"], "packed with short 16 and step 3, but short 8 and step 3 were asked for"),
        (["videossl", "index", str(tmp_path / "packed"), "--decoder", "opencv"], "holds packed videos"),
        (["videossl", "pack", str(tmp_path / "nowhere"), "--out", str(tmp_path / "p")], "nowhere is not there"),
    ):
        monkeypatch.setattr(sys, "argv", wrong)
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code.startswith("videossl: ") and why in stopped.value.code
        assert "\n" not in stopped.value.code
