import cv2
import numpy as np
import pytest

from videossl.datasets.scaling import AT_ONCE, Picture, Scaler, scaled, weights, yuv_to_rgb


def exact(planes, size, standard="601", full=False):
    """In floating point: planes scaled by area, colours as ITU-R BT.601 writes them."""
    y, u, v = (cv2.resize(p.astype(np.float64), size[::-1], interpolation=cv2.INTER_AREA) for p in planes)
    red, blue = {"601": (0.299, 0.114), "709": (0.2126, 0.0722)}[standard]
    y, u, v = (y, u - 128, v - 128) if full else ((y - 16) * 255 / 219, (u - 128) * 255 / 224, (v - 128) * 255 / 224)
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.stack([r, g, b]).clip(0, 255)


def smooth(rng, height, width):
    noise = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2)).astype(np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def alone(picture, size):
    out = np.empty((3, 1, *size), np.uint8)
    scaler = Scaler(out)
    scaler.add(picture)
    scaler.finish()
    return out[:, 0]


@pytest.mark.parametrize("source", [1, 2, 3, 7, 120, 240, 320, 1080])
@pytest.mark.parametrize("target", [1, 2, 30, 112, 171, 500])
def test_weights_add_up_and_stay_inside(source, target):
    first, weight = weights(source, target)
    assert (weight.sum(1) == 256).all() and len(first) == target
    assert first.min() >= 0 and (first + weight.shape[1]).max() <= source
    centres = (first[:, None] + np.arange(weight.shape[1]) + 0.5) * weight / 256
    ideal = (np.arange(target) + 0.5) * source / target
    inside = (ideal > 0.5) & (ideal < source - 0.5)  # at the border what is missing is taken from inside
    assert np.abs(centres.sum(1) - ideal)[inside].max(initial=0) < 0.07 * max(1, source / target)


@pytest.mark.parametrize(
    ("height", "width", "size"), [(240, 320, (128, 171)), (360, 640, (112, 112)), (90, 70, (45, 35))]
)
@pytest.mark.parametrize("standard", ["601", "709"])
@pytest.mark.parametrize("full", [False, True])
def test_video_pictures_are_what_exact_arithmetic_gives(height, width, size, standard, full):
    rng = np.random.default_rng(0)
    # of whole chroma halves, so that area scaling shrinks each plane
    planes = [smooth(rng, height, width) for _ in range(3)]
    if not full:  # what video may hold
        planes = [
            16 + (plane * (least / 255)).astype(np.uint8) for plane, least in zip(planes, (219, 224, 224), strict=True)
        ]
    out = alone(Picture(tuple(planes), yuv_to_rgb(standard, full)), size)
    apart = np.abs(out - exact(planes, size, standard, full))
    assert apart.max() <= 6 and apart.mean() < 0.8


def test_half_sized_colour_planes_lie_over_the_picture():
    flat = np.full((240, 320), 120, np.uint8)
    u, v = np.full((120, 160), 90, np.uint8), np.full((120, 160), 200, np.uint8)
    v[:, 80:] = 60
    out = alone(Picture((flat, u, v), yuv_to_rgb("601", False)), (128, 171))
    expected = exact([flat[:2, :2], u[:2, :2], v[:2, :2]], (1, 1))[:, 0, 0]
    assert np.abs(out[:, :, :80] - expected[:, None, None]).max() <= 1
    assert out[0, 64, 84] > out[0, 64, 86]  # the edge is in the middle


def test_many_pictures_of_changing_shapes_each_reach_their_place():
    rng = np.random.default_rng(1)
    colours = yuv_to_rgb("601", False)
    pictures = []
    for n in range(3 * AT_ONCE + 5):
        height, width = [(48, 64), (60, 40)][n // 20 % 2]
        planes = (
            rng.integers(0, 256, (height, width), np.uint8),
            *rng.integers(0, 256, (2, height // 2, width // 2), np.uint8),
        )
        pictures.append(Picture(planes, colours if n % 7 else None))
    together = np.empty((3, len(pictures), 24, 32), np.uint8)
    scaler = Scaler(together)
    for picture in pictures:
        scaler.add(picture)
    scaler.finish()
    assert all(np.array_equal(together[:, n], alone(pictures[n], (24, 32))) for n in range(len(pictures)))


def test_shrinking_is_opencvs_area_filter_and_the_same_size_is_the_same():
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (3, 97, 131), np.uint8)
    assert np.array_equal(scaled(image, (97, 131)), image)
    for size in [(30, 40), (64, 100), (11, 131)]:
        area = np.stack([cv2.resize(p, size[::-1], interpolation=cv2.INTER_AREA) for p in image])
        assert np.abs(scaled(image, size).astype(int) - area).max() <= 2


def test_white_stays_white_and_black_black():
    for standard in ("601", "709", "2020"):
        for full, black, white in [(False, 16, 235), (True, 0, 255)]:
            for level, expected in ((black, 0), (white, 255)):
                planes = [np.full((8, 8), value, np.uint8) for value in (level, 128, 128)]
                out = alone(Picture(tuple(planes), yuv_to_rgb(standard, full)), (4, 4))
                assert (out == expected).all()


def test_a_picture_of_the_wanted_size_is_converted_at_once_with_its_colours_interpolated():
    rng = np.random.default_rng(3)
    y, u, v = smooth(rng, 48, 64), smooth(rng, 24, 32), smooth(rng, 24, 32)
    out = alone(Picture((y, u, v), yuv_to_rgb("601", False)), (48, 64))
    wide = [cv2.resize(plane.astype(np.float64), (64, 48), interpolation=cv2.INTER_LINEAR) for plane in (u, v)]
    apart = np.abs(out - exact([y, *wide], (48, 64)))
    assert apart.max() <= 3 and apart.mean() < 0.7
