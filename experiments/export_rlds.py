"""Interactions as RLDS: what tensorflow-datasets reads with `tfds.builder_from_directory(OUT)`, written without it.

An interaction is an episode; its pictures are the observations of the episode's steps. The action stands at each of them,
since most interactions have one picture: where there are two, it was done between them. What else is known of an
interaction is its "episode_metadata". All is exact: pictures are PNG, and float64 (poses) is stored as bytes, since the
numbers in a TFRecord are float32.

Source: Ramos et al., "RLDS: an Ecosystem to Generate, Share and Use Datasets in Reinforcement Learning",
arXiv:2111.02767; tensorflow-datasets 4.9.10 for the files; TensorFlow's example.proto and feature.proto.
"""

import json
import struct
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pool, message_factory, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from videossl.datasets.shards import Field
from videossl.experiments.export import png

SHARD = 250e6  # bytes after which another file begins
ACTION = "action"  # the field that is the steps'
FLAGS = {
    "is_first": Field((), "bool", "first step of the episode"),
    "is_last": Field((), "bool", "last step of the episode"),
    "is_terminal": Field((), "bool", "the episode ends with it by itself: an interaction is always whole"),
}
CLASSES = "tensorflow_datasets.core.features"


def write_rlds(
    episodes: Iterable[tuple[np.ndarray, dict[str, Any]]],
    fields: Mapping[str, Field],
    shape: tuple[int, int, int, int],
    task: str,
    out: Path,
) -> None:
    """Write the data set into an empty folder.

    Args:
        episodes: pictures (T, H, W, 3) uint8 and values of each interaction.
        fields: what the values are.
        shape: of the pictures of one.
        task: name of the data set.
        out: the folder.

    Raises:
        OSError: the disk is full.
    """
    shards = []  # how many episodes each file holds
    examples = (_example(pictures, values, fields) for pictures, values in episodes)
    for first in examples:
        with open(out / f"{len(shards)}", "wb") as file:
            shards.append(0)
            for example in chain([first], examples):
                file.write(_framed(example))
                shards[-1] += 1
                if file.tell() > SHARD:
                    break
    size = sum(path.stat().st_size for path in out.iterdir())
    for number in range(len(shards)):
        (out / f"{number}").rename(out / f"{task}-train.tfrecord-{number:05}-of-{len(shards):05}")
    _write_json(_features(fields, shape), out / "features.json")
    _write_json(_info(task, shards, size), out / "dataset_info.json")
    for name, field in fields.items():
        if field.names:
            (out / f"episode_metadata-{name}.labels.txt").write_text("\n".join(field.names) + "\n")


# Examples


# What matters of TensorFlow's example.proto and feature.proto.
SCHEMA = """
name: "example.proto" package: "tensorflow" syntax: "proto3"
message_type { name: "BytesList" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_BYTES } }
message_type { name: "FloatList" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_FLOAT } }
message_type { name: "Int64List" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_INT64 } }
message_type {
  name: "Feature"
  field { name: "bytes_list" number: 1 label: LABEL_OPTIONAL type_name: "BytesList" oneof_index: 0 }
  field { name: "float_list" number: 2 label: LABEL_OPTIONAL type_name: "FloatList" oneof_index: 0 }
  field { name: "int64_list" number: 3 label: LABEL_OPTIONAL type_name: "Int64List" oneof_index: 0 }
  oneof_decl { name: "kind" }
}
message_type {
  name: "Features"
  field { name: "feature" number: 1 label: LABEL_REPEATED type_name: "FeatureEntry" }
  nested_type {
    name: "FeatureEntry"
    field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
    field { name: "value" number: 2 label: LABEL_OPTIONAL type_name: "Feature" }
    options { map_entry: true }
  }
}
message_type { name: "Example" field { name: "features" number: 1 label: LABEL_OPTIONAL type_name: "Features" } }
"""
_pool = descriptor_pool.DescriptorPool()  # of its own: TensorFlow, if it is there, has its Example in the usual one
_pool.Add(text_format.Parse(SCHEMA, FileDescriptorProto()))
Example = message_factory.GetMessageClass(_pool.FindMessageTypeByName("tensorflow.Example"))


def _example(pictures: np.ndarray, values: Mapping[str, Any], fields: Mapping[str, Field]) -> bytes:
    """An episode: the bytes of a tf.train.Example, the same each time."""
    example, steps = Example(), len(pictures)
    features = example.features.feature
    features["steps/observation/image"].bytes_list.value[:] = [png(picture) for picture in pictures]
    for name, at in zip(FLAGS, (0, steps - 1, steps - 1), strict=True):
        features[f"steps/{name}"].int64_list.value[:] = [int(step == at) for step in range(steps)]
    for name, field in fields.items():
        times = steps if name == ACTION else 1
        place = f"steps/{name}" if name == ACTION else f"episode_metadata/{name}"
        _put(features[place], field, values[name], times)
    return example.SerializeToString(deterministic=True)


def _put(feature: Any, field: Field, value: Any, times: int) -> None:
    kind, value = _kind(field), np.asarray(value)
    if kind == "text":
        feature.bytes_list.value[:] = [str(value).encode()] * times
    elif kind == "bytes":
        feature.bytes_list.value[:] = [value.astype(value.dtype.newbyteorder("<")).tobytes()] * times
    elif kind == "float":
        feature.float_list.value[:] = value.ravel().tolist() * times
    else:
        feature.int64_list.value[:] = value.astype(np.int64).ravel().tolist() * times


def _kind(field: Field) -> str:
    """How values of a field are stored: "text", "bytes", "float" or "integer"."""
    if field.dtype == "str":
        return "text"
    kind = np.dtype(field.dtype)
    return "float" if kind == np.float32 else "bytes" if kind.kind == "f" else "integer"


def _framed(content: bytes) -> bytes:
    """A record of a TFRecord file: its length and its bytes, each with a check sum."""
    length = struct.pack("<Q", len(content))
    return length + _check_sum(length) + content + _check_sum(content)


def _check_sum(content: bytes) -> bytes:
    """CRC-32C, turned and shifted as TFRecord has it, so that the sum of what holds sums is sound."""
    plain = google_crc32c.value(content)
    return struct.pack("<I", ((plain >> 15 | plain << 17) + 0xA282EAD8) & 0xFFFFFFFF)


# What is told of them


def _features(fields: Mapping[str, Field], shape: tuple[int, int, int, int]) -> dict[str, Any]:
    """What features.json says: the messages of tensorflow-datasets' feature.proto."""
    picture = {"shape": _sizes(shape[1:]), "dtype": "uint8", "encodingFormat": "png"}
    views = {"image": {"pythonClassName": f"{CLASSES}.image_feature.Image", "image": picture, "description": "RGB"}}
    steps = {"observation": _dict(views)} | {name: _feature(field) for name, field in FLAGS.items()}
    steps |= {name: _feature(field) for name, field in fields.items() if name == ACTION}
    known = {name: _feature(field) for name, field in fields.items() if name != ACTION}
    sequence = {"feature": _dict(steps), "length": "-1"}
    return _dict(
        {
            "steps": {"pythonClassName": f"{CLASSES}.dataset_feature.Dataset", "sequence": sequence},
            "episode_metadata": _dict(known),
        }
    )


def _dict(features: Mapping[str, dict]) -> dict[str, Any]:
    return {"pythonClassName": f"{CLASSES}.features_dict.FeaturesDict", "featuresDict": {"features": features}}


def _feature(field: Field) -> dict[str, Any]:
    if field.dtype == "str":
        found = {"pythonClassName": f"{CLASSES}.text_feature.Text", "text": {}}
    elif field.names:
        number = {"numClasses": str(len(field.names))}
        found = {"pythonClassName": f"{CLASSES}.class_label_feature.ClassLabel", "classLabel": number}
    else:
        encoding = "bytes" if _kind(field) == "bytes" else "none"
        tensor = {"shape": _sizes(field.shape), "dtype": field.dtype, "encoding": encoding}
        found = {"pythonClassName": f"{CLASSES}.tensor_feature.Tensor", "tensor": tensor}
    return found | {"description": field.about}


def _sizes(shape: tuple[int, ...]) -> dict[str, list[str]]:
    return {"dimensions": [str(size) for size in shape]} if shape else {}


def _info(task: str, shards: list[int], size: int) -> dict[str, Any]:
    """What dataset_info.json says: the message of tensorflow-datasets' dataset_info.proto."""
    split = {
        **{"name": "train", "numBytes": str(size), "shardLengths": [str(length) for length in shards]},
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    }
    about = f"Interactions of a simulated robot with things on a table, collected by videossl: {task}."
    return {"name": task, "version": "1.0.0", "description": about, "fileFormat": "tfrecord", "splits": [split]}


def _write_json(content: dict, path: Path) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")
