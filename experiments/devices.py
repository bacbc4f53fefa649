"""Where a run computes: Lightning Fabric's choices, as they stand on the command line."""

from dataclasses import dataclass
from typing import Literal

import torch
from lightning.fabric import Fabric


@dataclass(frozen=True)
class Devices:
    """Devices, machines and precision, as Lightning Fabric names them."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int | Literal["auto"] = "auto"  # on each machine; auto is every GPU, or one CPU process
    num_nodes: int = 1  # machines; start the command on each of them, as with torchrun
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true"] = "32-true"
    strategy: Literal["auto", "ddp"] = "auto"  # auto is ddp where there is more than one process
    threads: int | None = (
        None  # of torch in each process, on a CPU that workers decode on as well; None is torch's choice
    )

    def launch(self) -> Fabric:
        """Start the processes; the caller goes on in each of them."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        fabric = Fabric(
            accelerator=self.accelerator,
            devices=self.devices,
            num_nodes=self.num_nodes,
            precision=self.precision,
            strategy=self.strategy,
        )
        fabric.launch()
        return fabric
