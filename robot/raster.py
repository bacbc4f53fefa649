"""A renderer of our own, compiled by numba: what TinyRenderer draws without shadows, many times faster.

Triangles are drawn in two passes. The first finds for each pixel the nearest triangle, the second looks up its texture,
once a pixel. A triangle is set up from its corners as homogeneous pixels p = (column, row, 1) * depth: what is linear on
it, such as 1, u or v, is, divided by depth, linear in the picture, with coefficients inv(p0, p1, p2) @ values. That holds
for corners behind the camera too, so nothing is clipped.

Sources: Olano and Greer, "Triangle Scan Conversion using 2D Homogeneous Coordinates", Graphics Hardware 1997, section 3;
the shading is TinyRenderer's (bullet3, examples/TinyRenderer/TinyRenderer.cpp, `Shader::fragment`), for flat faces.
"""

from collections.abc import Mapping
from functools import lru_cache
from math import ceil, inf
from threading import get_ident

import numpy as np
from numba import njit

from videossl.robot.camera import BODY, Camera, Drawn, Light, Picture
from videossl.robot.materials import SIZE, textures

ONE = 1 << 20  # what stands for 1 where light and colour are whole numbers, which are faster
Pose = tuple  # ((3,) position in metres, (4,) quaternion x, y, z, w), as PyBullet gives them


def render(
    drawn: Mapping[int, Drawn],
    poses: Mapping[int, Pose],
    camera: Camera,
    light: Light,
    out: Picture | None = None,
) -> Picture:
    """What a camera sees of bodies.

    Args:
        drawn: by the number of a body, or body + (link + 1 << 24), as PyBullet numbers links in its segmentation.
        poses: where each is: position in metres and quaternion (x, y, z, w).
        out: a picture to write to and return, instead of a new one: new memory can cost as much time as drawing does.

    Returns: a picture, in whose segmentation are bodies, without the link.

    Raises:
        ValueError: a body has no pose, or one that is no pose, or `out` has another size than the camera.
    """
    lost = drawn.keys() - poses.keys()
    if lost:
        raise ValueError(f"no pose of {sorted(lost)}: what is drawn must be somewhere")
    places = {number: np.array([*poses[number][0], *poses[number][1]], float) for number in drawn}
    for number, place in places.items():
        if not (np.isfinite(place).all() and place[3:].any()):
            raise ValueError(
                f"body {number & BODY} is at {place.tolist()}: a pose is 3 + 4 finite numbers, the 4 not all 0"
            )
    size = camera.height, camera.width
    if out is None:
        out = Picture(np.empty((*size, 3), np.uint8), np.empty(size, np.float32), np.empty(size, np.int32))
    elif out.depth.shape != size:
        raise ValueError(f"out is {out.depth.shape}, but the camera has {size} pixels: give a picture of that size")
    total = sum(len(body.mesh.faces) for body in drawn.values())
    planes = np.empty((total, 9))  # coefficients by column, row and 1: of 1 / depth, u / depth, v / depth
    looks = np.empty((total, 6), np.int64)  # red, green, blue; the light on each; in ONEs
    marks = np.empty((total, 2), np.int32)  # body, texture
    inverse, nearest = _scratch(*size, get_ident())
    inverse.fill(1 / camera.far)
    nearest.fill(-1)
    lamp = np.array([*light.direction, *light.colour, light.ambient, light.diffuse, light.specular], float)
    lamp[:3] /= np.linalg.norm(lamp[:3])
    first = 0
    for number, body in drawn.items():
        mesh = body.mesh
        _draw(
            mesh.vertices, mesh.normals, mesh.uvs, places[number], np.array(body.colour, float), number & BODY,
            body.texture, camera.projection, 1 / camera.near, lamp, first, planes, looks, marks, inverse, nearest,
        )  # fmt: skip
        first += len(mesh.faces)
    _shade(nearest, planes, looks, marks, textures(), camera.far, *out)
    return out


@lru_cache(maxsize=8)
def _scratch(height: int, width: int, thread: int) -> tuple[np.ndarray, np.ndarray]:
    """1 / depth of each pixel's nearest triangle so far, and its number: kept, since new memory takes much of the time."""
    return np.empty((height, width), np.float32), np.empty((height, width), np.int32)


@njit(cache=True)
def _turn(quaternion):
    """The rotation matrix (3, 3) of (x, y, z, w)."""
    x, y, z, w = quaternion / np.sqrt((quaternion**2).sum())
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


@njit(cache=True)
def _draw(
    vertices, normals, uvs, place, colour, body, texture, projection, closest, lamp, first, planes, looks, marks, inverse,
    nearest,
):  # fmt: skip
    """Set up all triangles of a body, from number `first` on, and mark the pixels where they are the nearest."""
    height, width = nearest.shape
    turn = _turn(place[3:])
    seen = np.ascontiguousarray(projection[:, :3]) @ turn
    origin = np.ascontiguousarray(projection[:, :3]) @ place[:3] + projection[:, 3]
    lit, up = lamp[:3] @ turn, turn[2]  # to the light, and up, as seen from the body
    p = np.empty((3, 3))  # corners
    edges = np.empty((3, 3))  # of each corner: its share of a point, divided by depth
    for face in range(len(vertices) // 3):
        for k in range(3):
            for i in range(3):
                x, y, z = vertices[3 * face + k]
                p[k, i] = seen[i, 0] * x + seen[i, 1] * y + seen[i, 2] * z + origin[i]
        for k in range(3):
            a, b = p[(k + 1) % 3], p[(k + 2) % 3]
            edges[k, 0] = a[1] * b[2] - a[2] * b[1]
            edges[k, 1] = a[2] * b[0] - a[0] * b[2]
            edges[k, 2] = a[0] * b[1] - a[1] * b[0]
        volume = p[0, 0] * edges[0, 0] + p[0, 1] * edges[0, 1] + p[0, 2] * edges[0, 2]
        if volume > -1e-12:  # seen from behind or from the side
            continue
        number = first + face
        edges /= volume
        plane = planes[number]
        plane[:] = 0
        for k in range(3):
            for i in range(3):
                plane[i] += edges[k, i]
                plane[3 + i] += edges[k, i] * uvs[3 * face + k, 0]
                plane[6 + i] += edges[k, i] * uvs[3 * face + k, 1]
        x, y, z = normals[3 * face]
        facing = x * lit[0] + y * lit[1] + z * lit[2]
        mirrored = 2 * facing * (x * up[0] + y * up[1] + z * up[2]) - lamp[2]  # upward part of the mirror image
        added = lamp[7] * max(facing, 0.0) + lamp[8] * max(mirrored, 0.0) ** 2
        for i in range(3):
            looks[number, i] = ceil(ONE * colour[i])
            looks[number, 3 + i] = ceil(ONE * (lamp[6] + added * lamp[3 + i]))
        marks[number] = body, texture
        left, right, top, bottom = _bounds(p, height, width)
        for row in range(top, bottom + 1):
            begin, end = _span(edges, row, left, right)
            for column in range(begin, end + 1):
                near = np.float32(plane[0] * column + plane[1] * row + plane[2])
                if inverse[row, column] <= near <= closest:
                    inverse[row, column] = near
                    nearest[row, column] = number


@njit(cache=True)
def _bounds(p, height, width):
    """First and last column and row that a triangle can cover: all, where it reaches behind the camera."""
    if min(p[0, 2], p[1, 2], p[2, 2]) <= 0:
        return 0, width - 1, 0, height - 1
    low_x, low_y, high_x, high_y = inf, inf, -inf, -inf
    for k in range(3):
        x, y = p[k, 0] / p[k, 2], p[k, 1] / p[k, 2]
        low_x, high_x, low_y, high_y = min(low_x, x), max(high_x, x), min(low_y, y), max(high_y, y)
    left, right = max(0.0, np.ceil(low_x - 1e-9)), min(width - 1.0, np.floor(high_x + 1e-9))
    top, bottom = max(0.0, np.ceil(low_y - 1e-9)), min(height - 1.0, np.floor(high_y + 1e-9))
    if left > right or top > bottom:  # beside the picture, perhaps too far for a whole number
        return 0, -1, 0, -1
    return int(left), int(right), int(top), int(bottom)


@njit(cache=True)
def _span(edges, row, left, right):
    """First and last column of a row in which all three shares are 0 or more."""
    begin, end = float(left), float(right)
    for k in range(3):
        slope, start = edges[k, 0], edges[k, 1] * row + edges[k, 2]
        if slope > 0:  # numpy's ceil and floor stay floats, so that no huge quotient of a tiny slope overflows
            begin = max(begin, np.ceil(-start / slope - 1e-9))
        elif slope < 0:
            end = min(end, np.floor(-start / slope + 1e-9))
        elif start < 0:
            return 0, -1
    return (int(begin), int(end)) if begin <= end else (0, -1)


@njit(cache=True, error_model="numpy")
def _shade(nearest, planes, looks, marks, bank, far, rgb, depth, segmentation):
    """Fill in colour, depth and body of each pixel, from its nearest triangle."""
    height, width = nearest.shape
    for row in range(height):
        end = 0
        while end < width:  # runs of pixels of the same triangle
            number, begin = nearest[row, end], end
            while end < width and nearest[row, end] == number:
                end += 1
            if number < 0:
                rgb[row, begin:end], depth[row, begin:end], segmentation[row, begin:end] = 255, far, -1
                continue
            plane, texture, body = planes[number], bank[marks[number, 1]], marks[number, 0]
            red, green, blue, lit_red, lit_green, lit_blue = looks[number]
            by_w, by_u, by_v = plane[0], SIZE * plane[3], SIZE * plane[6]
            w = plane[1] * row + plane[2]
            u, v = SIZE * (plane[4] * row + plane[5]), SIZE * (plane[7] * row + plane[8])
            for x in range(begin, end):
                z = 1 / (by_w * x + w)
                texel = texture[SIZE - 1 - int(z * (by_v * x + v)) % SIZE, int(z * (by_u * x + u)) % SIZE]
                rgb[row, x, 0] = min(texel[0] * red // ONE * lit_red // ONE, 255)  # cut off twice, as by TinyRenderer
                rgb[row, x, 1] = min(texel[1] * green // ONE * lit_green // ONE, 255)
                rgb[row, x, 2] = min(texel[2] * blue // ONE * lit_blue // ONE, 255)
                depth[row, x], segmentation[row, x] = z, body
