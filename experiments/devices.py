"""Where a run computes: Lightning Fabric's choices, as they stand on the command line."""

from dataclasses import dataclass
from typing import Literal

import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException


@dataclass(frozen=True)
class Devices:
    """Devices, machines and precision, as Lightning Fabric names them."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"  # auto is a GPU where there is one
    devices: int | Literal["auto"] = "auto"  # on each machine; auto is every GPU, or one CPU process
    num_nodes: int = 1  # machines; start the command on each of them, as with torchrun
    # mixed computes layers in 16 bits and keeps weights in 32: faster on a GPU, and half the memory
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    strategy: Literal["auto", "ddp"] = "auto"  # auto is ddp where there is more than one process
    # threads of torch in each process, on a CPU that workers decode on as well; None is torch's choice
    threads: int | None = None

    def launch(self) -> Fabric:
        """Start the processes; the caller goes on in each of them.

        Raises:
            ValueError: the accelerator or as many devices are not there.
        """
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        try:
            fabric = Fabric(
                accelerator=self.accelerator,
                devices=self.devices,
                num_nodes=self.num_nodes,
                precision=self.precision,
                strategy=self._strategy(),
            )
        except (RuntimeError, MisconfigurationException) as error:
            raise ValueError(
                f"no run on --accelerator {self.accelerator} --devices {self.devices} here: {error}"
            ) from error
        fabric.launch()
        return fabric

    def _strategy(self) -> str:
        """As asked for; of several processes ddp that bears layers without a gradient, such as CaffeNet's after its maps."""
        gpus = torch.cuda.device_count() if self.accelerator in ("auto", "cuda") else 1
        several = self.num_nodes > 1 or (gpus if self.devices == "auto" else self.devices) > 1
        return "ddp_find_unused_parameters_true" if several or self.strategy == "ddp" else self.strategy
