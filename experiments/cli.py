"""The command `videossl`: one or two words say what to do, the rest is that command's own dataclass.

Modules are imported only when their command runs, so that `videossl --help` answers at once.
"""

import importlib
import importlib.metadata
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import NamedTuple


class Command(NamedTuple):
    """What stands behind a command's name."""

    module: str  # of videossl
    config: str  # the dataclass that is its command line
    run: str  # the function that takes it
    about: str


COMMANDS = {
    "demo": Command("experiments.demo", "Demo", "demo", "everything below, on simulated actions"),
    "simulate actions": Command(
        "robot.actions",
        "SimulateActions",
        "simulate_actions",
        "film a simulated humanoid's actions, in UCF101's layout",
    ),
    "simulate driving": Command(
        "robot.driving", "SimulateDriving", "simulate_driving", "drive through simulated streets, in KITTI raw's layout"
    ),
    "simulate scenes": Command(
        "robot.scenes",
        "SimulateScenes",
        "simulate_scenes",
        "pictures of 16 kinds of simulated scenes, in SUN397's layout",
    ),
    "simulate masks": Command(
        "robot.masks",
        "SimulateMasks",
        "simulate_masks",
        "film an actor and moving things with a mask of each, in DAVIS's layout",
    ),
    "simulate clutter": Command(
        "robot.clutter",
        "SimulateClutter",
        "simulate_clutter",
        "pictures of several things, with boxes, masks and depth, in PASCAL VOC's layout",
    ),
    "simulate objects": Command(
        "robot.things",
        "SimulateObjects",
        "simulate_objects",
        "pictures of the robot's things in new scenes, as folders",
    ),
    "collect": Command(
        "robot.collect",
        "Collect",
        "collect",
        "have a simulated robot grasp, push and poke things, and look at them again",
    ),
    "inspect": Command(
        "experiments.inspection", "Inspect", "inspect", "one HTML page of what collected interactions are like"
    ),
    "replay": Command("robot.replay", "Replay", "replay", "make collected episodes again, verify them, film one"),
    "act": Command(
        "experiments.act", "Act", "act", "let a trained net choose grasps, pushes to a goal, or what is harder"
    ),
    "export": Command("experiments.export", "Export", "export", "write interactions as LeRobotDataset or RLDS"),
    "index": Command("experiments.index", "Index", "index", "look at every video of a folder once, before the rest"),
    "pack": Command("experiments.pack", "Pack", "pack_videos", "make small copies of videos, which are read faster"),
    "pretrain": Command("experiments.pretrain", "Pretrain", "pretrain", "learn a trunk from videos without labels"),
    "resume": Command("experiments.pretrain", "Resume", "resume", "go on with a pretraining run that was stopped"),
    "evaluate": Command(
        "experiments.evaluate", "Evaluate", "evaluate", "score trunks: fine-tune, linear probe, k-NN, retrieval"
    ),
    "embed": Command("experiments.embed", "Embed", "embed", "write features of videos: Parquet or HDF5"),
    "search": Command("experiments.embed", "Search", "search", "the clips most like a video's, as a picture"),
    "map": Command("experiments.map", "Map", "draw_map", "features as points in two dimensions: t-SNE, UMAP, PCA"),
    "attention": Command(
        "experiments.attention", "Attend", "attend", "what a transformer attends to over a video, as a picture"
    ),
    "publish": Command("experiments.publish", "Publish", "publish", "write a trunk as safetensors, .pth or ONNX"),
    "protocols diff": Command(
        "experiments.protocols", "Diff", "diff", "in which fields two published protocols differ"
    ),
    "protocols": Command("experiments.protocols", "Protocols", "protocols", "published protocols of evaluation"),
    "bench loader": Command(
        "experiments.bench.loader",
        "BenchLoader",
        "bench_loader",
        "clips a second of decoders, loaders and packed copies",
    ),
    "bench decoders": Command(
        "experiments.bench.decoders", "BenchDecoders", "bench_decoders", "whether each decoder gives the right frames"
    ),
    "bench evaluation": Command(
        "experiments.bench.evaluation", "BenchEvaluation", "bench_evaluation", "scores by each decoder and packed copy"
    ),
    "bench views": Command(
        "experiments.bench.views", "BenchViews", "bench_views", "a test video's views read together and one by one"
    ),
    "bench fit": Command("experiments.bench.fit", "BenchFit", "bench_fit", "the training loop beside a bare one"),
    "bench images": Command(
        "experiments.bench.images",
        "BenchImages",
        "bench_images",
        "images a second of SimCLR, MoCo, DINO and MAE, beside lightly's own",
    ),
    "bench collect": Command(
        "experiments.bench.collect", "BenchCollect", "bench_collect", "simulated interactions an hour"
    ),
    "bench paper": Command(
        "experiments.bench.paper",
        "BenchPaper",
        "bench_paper",
        "time, size and memory of a data set of the paper's size",
    ),
    "bench robot": Command(
        "experiments.bench.robot",
        "BenchRobot",
        "bench_robot",
        "how often robots succeed, and how true their labels are",
    ),
    "bench fuzz": Command("experiments.bench.fuzz", "BenchFuzz", "bench_fuzz", "read thousands of damaged files"),
    "curious-robot": Command(
        "experiments.curious_robot", "CuriousRobot", "run", "The Curious Robot, from collecting to its three tables"
    ),
    "reproduce": Command("experiments.reproduce", "Reproduce", "reproduce", "tables of papers, theirs beside ours"),
    "report": Command("experiments.report", "Report", "report", "one HTML page of runs and their scores"),
}


def overview() -> str:
    """What `videossl --help` prints."""
    listed = [f"  {name:<18} {command.about}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: videossl COMMAND [OPTIONS]",
            "",
            "Learn visual representations without labels, from video and from touch.",
            "",
            *listed,
            "",
            "`videossl COMMAND --help` lists a command's options. Begin with `videossl demo`.",
        ]
    )


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Say in one line what a command's user can mend, and exit; VIDEOSSL_TRACEBACK=1 shows where it came from."""
    try:
        yield
    except KeyboardInterrupt as stop:
        sys.exit(f"videossl: interrupted{f': {stop}' if stop.args else ''}")
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        if os.environ.get("VIDEOSSL_TRACEBACK"):
            raise
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        sys.exit(f"videossl: {error}{notes}")


def main() -> None:
    """Run a command; see `one_line_errors`."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return
    if arguments[0] == "--version":
        print(importlib.metadata.version("videossl"))
        return
    with one_line_errors():
        name, options = split_command(arguments)
        getattr(module_of(name), COMMANDS[name].run)(parse(name, options))


def split_command(arguments: list[str]) -> tuple[str, list[str]]:
    """A command's name, of two words or one, and its options.

    Raises:
        ValueError: there is no such command.
    """
    for count in (2, 1):
        if (name := " ".join(arguments[:count])) in COMMANDS:
            return name, arguments[count:]
    raise ValueError(f"there is no command {' '.join(arguments[:2])!r}; there are: {', '.join(COMMANDS)}")


def parse(name: str, arguments: list[str]) -> object:
    """A command's options as its dataclass; exits with an explanation where they are none."""
    import tyro

    return tyro.cli(
        getattr(module_of(name), COMMANDS[name].config),
        prog=f"videossl {name}",
        args=arguments,
        config=(tyro.conf.CascadeSubcommandArgs,),
    )


def module_of(name: str) -> ModuleType:
    """Where a command is, imported."""
    return importlib.import_module(f"videossl.{COMMANDS[name].module}")


if __name__ == "__main__":
    main()
