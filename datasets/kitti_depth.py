"""KITTI's depth maps: what a laser scanner measured, in pictures of the raw recordings.

Source: Uhrig, Schneider, Schneider, Franke, Brox, Geiger, "Sparsity Invariant CNNs", 3DV 2017; the layout and the unit
are those of the benchmark's development kit (readme.txt).
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from videossl.datasets.image_folder import AT_ONCE, gather_images, unreadable
from videossl.datasets.records import Records, plain_root
from videossl.datasets.voc import DepthFile

MAPS = "proj_depth/groundtruth/image_02"  # in a drive of the annotated depth: those of the left colour camera
PICTURES = "image_02/data"  # in a drive of the raw recordings
PER_METRE = 256  # numbers in a map to a metre; 0 is not known


def kitti_depth(
    root: str | Path,
    split: int = 1,
    train: bool = True,
    size: tuple[int, int] | None = None,
    lists: str | Path | None = None,
    index: str | Path | None = None,
) -> Records:
    """KITTI's annotated depth maps: pictures to train and to validate, each with its depth; no index.

    Files lie as distributed, the annotated depth (data_depth_annotated.zip) and the raw recordings in one place:
    ROOT/train/2011_09_26_drive_0001_sync/proj_depth/groundtruth/image_02/0000000005.png, ROOT/val/..., and the picture
    ROOT/2011_09_26/2011_09_26_drive_0001_sync/image_02/data/0000000005.png. A picture counts where it has a depth map,
    so the first and last five of a drive do not; the right camera's (image_03) are left out. Maps whose picture is not
    there, be it for want of the whole drive, and files that are no whole images are told in `missing`.

    Depth is sparse: 11 scans of a laser scanner, laid over each other and checked against stereo, so most pixels are
    not known, the sky among them. Only known ones are learned from and scored, at `size` if it is given. Test pictures
    of the benchmark have no public depth: val is what is tested on here.

    Args:
        root: the folder.
        train: the train folder, otherwise val. No drive is in both.
        size: height and width in pixels that pictures and depth are scaled to, depth without mixing: each pixel has the
            number of the one that lies there, known or not. None leaves them as they are, but the sizes of the days
            differ (1242x375, 1224x370, ...).
        split, lists, index: as of the other data sets, but the two folders are the lists here: leave them out.

    Records hold "frames" (one), "depth" (metres, see `voc.DepthFile`), "name" (2011_09_26_drive_0001_sync/0000000005),
    "group" (the recording, 2011_09_26_drive_0001) and "digest" (see `image_folder.digest`). They never have a benchmark's
    name: how many maps there should be was not checked, and scores are of all known depths, cut nowhere.

    That drives a trunk was pretrained on as `kitti_raw` are in val is not noticed: leave them out by that set's lists.

    Raises:
        FileNotFoundError: the folder is not there.
        ValueError: no depth map or no picture of one is there and readable, or a split, lists or an index were given.
    """
    root = plain_root(root, "kitti_depth", split=split, lists=lists, index=index)
    part = "train" if train else "val"
    maps = sorted(path for path in root.glob(f"{part}/*_drive_*_sync/{MAPS}/*.png") if path.stem.isdigit())
    if not maps:
        raise ValueError(
            f"{root} has no depth maps, such as {part}/2011_09_26_drive_0001_sync/{MAPS}/0000000005.png: unpack "
            "KITTI's data_depth_annotated.zip there"
        )
    with ThreadPoolExecutor(AT_ONCE) as pool:
        whys = list(pool.map(unreadable, maps))
    wanted, broken = [], {}
    for path, why in zip(maps, whys, strict=True):
        drive = path.parents[3].name
        name = f"{drive}/{path.stem}"
        if why:
            broken[name] = f"unreadable: its depth map {why}"
            continue
        depth = DepthFile(str(path), size=size, per_metre=PER_METRE)
        wanted.append((name, [f"{raw(drive)}/{path.name}"], {"group": drive.removesuffix("_sync"), "depth": depth}))
    if not wanted:
        raise ValueError(
            f"none of the {len(maps)} depth maps in {root / part} can be read ({maps[0].name} {whys[0]}): unpack "
            "KITTI's data_depth_annotated.zip there again"
        )
    drives = {path.parents[3].name for path in maps}
    if not any((root / raw(drive)).is_dir() for drive in drives):
        raise ValueError(
            f"{root} has depth maps of {len(drives)} drives, but pictures of none, such as {raw(min(drives))}: unpack "
            f"KITTI's raw recordings, synchronised and rectified ({min(drives)}.zip, ...), there"
        )
    records, missing = gather_images(root, wanted, size)
    return Records(records, root.resolve().name, None, part, (), None, missing | broken)


def raw(drive: str) -> str:
    """The folder of a drive's pictures, below the root: it lies in that of its date."""
    return f"{drive[:10]}/{drive}/{PICTURES}"
