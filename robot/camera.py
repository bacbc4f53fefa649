"""Pinhole cameras, light, and pictures of a PyBullet world by its TinyRenderer.

A camera has x to the right, y down and z ahead; the middle of the first pixel is at (0, 0). Metres and radians.
raster.py draws the same pictures faster, from meshes and poses alone.
"""

import tempfile
from dataclasses import dataclass
from functools import cached_property
from math import tan
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from videossl.robot.materials import PLAIN, textures
from videossl.robot.objects import Mesh

BODY = (1 << 24) - 1  # of a number in PyBullet's segmentation: what is above are links, counted from 1


@dataclass(frozen=True)
class Camera:
    """Where a camera is, and what it takes in.

    Attributes:
        T_world_camera: the 16 numbers of its pose, row by row; `look` makes them, `pose` is the matrix.
        height, width: pixels.
        fov: radians from the top to the bottom of the picture.
        near, far: metres ahead between which things are seen.
    """

    T_world_camera: tuple[float, ...]
    height: int = 128
    width: int = 128
    fov: float = 0.8
    near: float = 0.05
    far: float = 5.0

    def __post_init__(self):
        if len(self.T_world_camera) != 16:
            raise ValueError(f"T_world_camera has {len(self.T_world_camera)} numbers, but a pose is 16, row by row")
        if min(self.height, self.width) < 1 or not 0 < self.fov < np.pi or not 0 < self.near < self.far:
            raise ValueError(
                f"{self.height} x {self.width} pixels, fov {self.fov}, near {self.near}, far {self.far}: a picture has at "
                "least one pixel, fov is between 0 and pi, and 0 < near < far"
            )

    @cached_property
    def pose(self) -> np.ndarray:
        """T_world_camera, (4, 4)."""
        return np.array(self.T_world_camera, float).reshape(4, 4)

    @cached_property
    def intrinsics(self) -> np.ndarray:
        """(3, 3): pixels (column, row, 1) from the camera's frame, times the depth."""
        focal = self.height / 2 / tan(self.fov / 2)
        return np.array([[focal, 0, (self.width - 1) / 2], [0, focal, (self.height - 1) / 2], [0, 0, 1]])

    @cached_property
    def projection(self) -> np.ndarray:
        """(3, 4): pixels (column, row, 1) times the depth, from the world."""
        turn, eye = self.pose[:3, :3], self.pose[:3, 3]
        return self.intrinsics @ np.column_stack([turn.T, -turn.T @ eye])

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points of the world (..., 3) as pixels (..., 2), column and row, and their depth (...) in metres.

        What has no positive depth is behind the camera: its pixels mean nothing.
        """
        seen = np.asarray(points, float) @ self.projection[:, :3].T + self.projection[:, 3]
        return seen[..., :2] / seen[..., 2:], seen[..., 2]

    def shows(self, point: np.ndarray) -> bool:
        """Whether a point of the world (3,) lies in the picture."""
        pixel, depth = self.project(point)
        return bool(depth > 0 and (pixel > -0.5).all() and (pixel < [self.width - 0.5, self.height - 0.5]).all())

    def unproject(self, depth: np.ndarray) -> np.ndarray:
        """Points of the world (H, W, 3) that the pixels of a depth picture (H, W) show."""
        row, column = np.indices((self.height, self.width))
        rays = np.stack([column, row, np.ones_like(row)], -1) @ np.linalg.inv(self.intrinsics).T
        return (rays * np.asarray(depth)[..., None]) @ self.pose[:3, :3].T + self.pose[:3, 3]


def look(eye, target, up=(0.0, 0.0, 1.0)) -> tuple[float, ...]:
    """T_world_camera, as Camera takes it, of a camera at `eye` that looks at `target`.

    Args:
        up: what points up in the picture. Straight down from above, give (0, 1, 0).

    Raises:
        ValueError: `eye` and `target` are one point, or `up` is along the line between them.
    """
    ahead = np.asarray(target, float) - eye
    right = _cross(ahead, up)
    if np.linalg.norm(right) < 1e-9 * np.linalg.norm(up):
        raise ValueError(
            f"no picture from {eye} to {target} with {up} up: they must differ, and up not lie between them"
        )
    ahead, right = ahead / np.linalg.norm(ahead), right / np.linalg.norm(right)
    T = np.eye(4)
    T[:3, :3] = np.stack([right, _cross(ahead, right), ahead], -1)
    T[:3, 3] = eye
    return tuple(T.ravel().tolist())


def _cross(a, b) -> np.ndarray:
    """As np.cross of two vectors, to the bit, which takes ten times as long."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


@dataclass(frozen=True)
class Light:
    """One far light and what comes from all sides, as TinyRenderer has them.

    Attributes:
        direction: to the light, in the world; of any length but 0.
        colour: of the far light, red, green and blue; 1 is white.
        ambient: share of a thing's colour that is seen in the dark.
        diffuse: what the light adds to it, at most.
        specular: what its mirror image, seen from above, adds to it, at most.
    """

    direction: tuple[float, float, float] = (0.5, 0.3, 1.0)
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ambient: float = 0.55
    diffuse: float = 0.45
    specular: float = 0.05

    def __post_init__(self):
        if not any(self.direction) or min(*self.colour, self.ambient, self.diffuse, self.specular) < 0:
            raise ValueError(f"{self}: the direction must not be 0, nor anything else negative")


@dataclass(frozen=True, eq=False)
class Drawn:
    """What a renderer needs to know of a body.

    Attributes:
        mesh: in the frame of the body.
        colour: red, green and blue in [0, 1], by which the texture is multiplied.
        texture: index into `materials.textures()`.
    """

    mesh: Mesh
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    texture: int = PLAIN

    def __post_init__(self):
        if not all(0 <= c <= 1 for c in self.colour) or not 0 <= self.texture < len(textures()):
            raise ValueError(
                f"colour {self.colour} and texture {self.texture}: colours are within [0, 1], textures 0 to "
                f"{len(textures()) - 1}"
            )


class Picture(NamedTuple):
    """What a camera sees. Where nothing is, it is white, `far` away, and -1.

    Attributes:
        rgb: (H, W, 3) uint8.
        depth: (H, W) float32, metres along the optical axis.
        segmentation: (H, W) int32, the number of the body.
    """

    rgb: np.ndarray
    depth: np.ndarray
    segmentation: np.ndarray


def load_texture(client, texture: int) -> int:
    """Give a texture of the bank to a client, and return the client's number for it.

    It stays there until `resetSimulation`: load each once.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texture.png"  # PyBullet takes textures from files alone
        cv2.imwrite(str(path), textures()[texture][..., ::-1])
        return client.loadTexture(str(path))


def visual_shape(client, drawn: Drawn) -> int:
    """A visual shape for `createMultiBody`; its texture is set by `changeVisualShape` on the body."""
    return client.createVisualShape(
        client.GEOM_MESH,
        vertices=drawn.mesh.vertices.tolist(),
        normals=drawn.mesh.normals.tolist(),
        uvs=drawn.mesh.uvs.tolist(),
        indices=drawn.mesh.faces.ravel().tolist(),
        rgbaColor=[*drawn.colour, 1],
    )


def render_tiny(client, camera: Camera, light: Light, shadow: bool = False) -> Picture:
    """The world of a client as PyBullet's TinyRenderer draws it, on the processor and the same on any machine.

    Args:
        shadow: whether things throw shadows, which takes about twice the time.
    """
    height, width, near, far = camera.height, camera.width, camera.near, camera.far
    focal = camera.intrinsics[0, 0]
    projection = np.zeros((4, 4))  # OpenGL's
    projection[0, 0], projection[1, 1] = 2 * focal / width, 2 * focal / height
    # TinyRenderer samples pixels at their lower left corners, with the rows upside down: half a pixel to be moved.
    projection[0, 2], projection[1, 2] = 1 / width, 1 / height
    projection[2, 2], projection[2, 3], projection[3, 2] = (
        (far + near) / (near - far),
        2 * far * near / (near - far),
        -1,
    )
    view = np.linalg.inv(camera.pose @ np.diag([1, -1, -1, 1]))
    _, _, rgba, depth, bodies = client.getCameraImage(
        width,
        height,
        viewMatrix=view.T.ravel().tolist(),
        projectionMatrix=projection.T.ravel().tolist(),
        shadow=int(shadow),
        renderer=client.ER_TINY_RENDERER,
        lightDirection=list(light.direction),
        lightColor=list(light.colour),
        lightAmbientCoeff=light.ambient,
        lightDiffuseCoeff=light.diffuse,
        lightSpecularCoeff=light.specular,
    )
    shape = height, width
    metres = far * near / (far - (far - near) * np.reshape(depth, shape).astype(np.float64))
    segmentation = np.reshape(bodies, shape).astype(np.int32)
    segmentation = np.where(segmentation < 0, -1, segmentation & BODY).astype(np.int32)
    return Picture(np.reshape(rgba, (*shape, 4))[..., :3].astype(np.uint8), metres.astype(np.float32), segmentation)
