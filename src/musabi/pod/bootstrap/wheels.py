"""Which flash-attn wheel fits: a table, because none of them can be built in the time a boot has.

Sources: the releases of Dao-AILab/flash-attention (2.8.3 has wheels for torch 2.9 on Python 3.12 only) and of
mjun0812/flash-attention-prebuild-wheels (community, for Python 3.10 and 3.11). torch's own wheels have the
new C++ ABI since 2.7. Every wheel is imported before it is believed.
"""

from dataclasses import dataclass

OFFICIAL = "https://github.com/Dao-AILab/flash-attention/releases/download"
COMMUNITY = "https://github.com/mjun0812/flash-attention-prebuild-wheels/releases/download"


@dataclass(frozen=True)
class Wheel:
    """A wheel for one Python minor, torch minor, CUDA (major, or major and minor as `cu128`) and C++ ABI."""

    python: str
    torch: str
    cuda: str
    new_abi: bool
    url: str
    sha256: str | None = None

    @property
    def requirement(self) -> str:
        """The direct reference to install, with its hash where it is known."""
        return f"flash-attn @ {self.url}" + (f"#sha256={self.sha256}" if self.sha256 else "")


WHEELS: tuple[Wheel, ...] = (
    Wheel(
        "3.12",
        "2.9",
        "cu12",
        True,
        f"{OFFICIAL}/v2.8.3/flash_attn-2.8.3%2Bcu12torch2.9cxx11abiTRUE-cp312-cp312-linux_x86_64.whl",
        "4e2f9e39313266b1544b68138b15b91ee6221eccf14f7902b7c6620351340810",
    ),
    Wheel(
        "3.12",
        "2.9",
        "cu13",
        True,
        f"{OFFICIAL}/v2.8.3/flash_attn-2.8.3%2Bcu13torch2.9cxx11abiTRUE-cp312-cp312-linux_x86_64.whl",
    ),
    Wheel(
        "3.10",
        "2.9",
        "cu128",
        True,
        f"{COMMUNITY}/v0.9.0/flash_attn-2.8.3%2Bcu128torch2.9-cp310-cp310-linux_x86_64.whl",
    ),
    Wheel(
        "3.11",
        "2.9",
        "cu128",
        True,
        f"{COMMUNITY}/v0.9.0/flash_attn-2.8.3%2Bcu128torch2.9-cp311-cp311-linux_x86_64.whl",
    ),
    Wheel(
        "3.10",
        "2.9",
        "cu130",
        True,
        f"{COMMUNITY}/v0.4.18/flash_attn-2.8.3%2Bcu130torch2.9-cp310-cp310-linux_x86_64.whl",
    ),
    Wheel(
        "3.11",
        "2.9",
        "cu130",
        True,
        f"{COMMUNITY}/v0.4.18/flash_attn-2.8.3%2Bcu130torch2.9-cp311-cp311-linux_x86_64.whl",
    ),
)


def choose_wheel(python: str, torch: str, cuda: str, machine: str = "x86_64") -> Wheel | None:
    """Return the wheel for a Python version, a torch version and a CUDA extra (`cu128`), or None.

    `machine` is the processor (uname's word); all known wheels are for Linux on x86_64.
    """
    minor = ".".join(torch.split("+")[0].split(".")[:2])
    numbers = [int(part) for part in minor.split(".") if part.isdigit()]
    new_abi = numbers >= [2, 7]
    # cu128 is served by rows for cu128 and for all of cu12.
    fits = (cuda, cuda[:4]) if cuda.startswith("cu") and len(cuda) >= 5 else (cuda,)
    for wheel in WHEELS:
        same = (wheel.python, wheel.torch, wheel.new_abi) == (".".join(python.split(".")[:2]), minor, new_abi)
        if same and wheel.cuda in fits and machine == "x86_64":
            return wheel
    return None
