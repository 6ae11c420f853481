"""The vendors of NPUs, their chips, and how to get their compilers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bokeh_runtime.errors import Argument, InputError


@dataclass(frozen=True)
class Vendor:
    """A vendor of NPUs for which LiteRT has a compiler plugin.

    Attributes:
        name: The part of `--npu` before the colon.
        title: Its name.
        manufacturer: What LiteRT calls it.
        plugin: Folder of the plugin in the package `ai_edge_litert`, below `vendors`.
        chips: Systems on a chip that the plugin knows, with a remark for people, such as the name
            on the box; "" if there is none. They are those of LiteRT 2.3.
        sdk: Python module of LiteRT's package with the vendor's libraries.
        install: How to get the compiler.
        lower_case: Whether the plugin wants the chip in lower case.
        options: Further options of LiteRT's tool for some chips.
        has_emulator: Whether the compiled file can be run on this computer.
    """

    name: str
    title: str
    manufacturer: str
    plugin: str
    chips: Mapping[str, str]
    sdk: str
    install: str
    lower_case: bool = False
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)
    has_emulator: bool = False


def _chips(names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), "")


_VENDORS = (
    Vendor(
        name="qualcomm",
        title="Qualcomm",
        manufacturer="Qualcomm",
        plugin="qualcomm",
        chips={
            "SA8255": "cars",
            "SA8295": "cars",
            "SM8350": "Snapdragon 888",
            "SM8450": "Snapdragon 8 Gen 1",
            "SM8475": "Snapdragon 8+ Gen 1",
            "SM8550": "Snapdragon 8 Gen 2",
            "SM8650": "Snapdragon 8 Gen 3",
            "SM8750": "Snapdragon 8 Elite",
            "SM8845": "Snapdragon 8 Gen 5",
            "SM8850": "Snapdragon 8 Elite Gen 5",
        },
        sdk="ai_edge_litert_sdk_qualcomm",
        install="pip install 'bokeh-tflite[npu-qualcomm]' on Linux, x86-64, Python 3.11 or later",
        has_emulator=True,
    ),
    Vendor(
        name="mediatek",
        title="MediaTek",
        manufacturer="MediaTek",
        plugin="mediatek",
        chips=_chips(
            "MT6853 MT6877 MT6878 MT6879 MT6886 MT6893 MT6895 MT6897 MT6983 MT6985 MT6989 MT6991 "
            "MT6993 MT8171 MT8188 MT8189"
        ),
        sdk="ai_edge_litert_sdk_mediatek",
        install="pip install ai-edge-litert-sdk-mediatek, which downloads MediaTek's NeuroPilot",
        lower_case=True,
        options={"MT6993": ("--mediatek_sdk_version_type=version9",)},
    ),
    Vendor(
        name="google",
        title="Google Tensor",
        manufacturer="Google",
        plugin="google_tensor",
        chips=_chips("Tensor_G3 Tensor_G4 Tensor_G5 Tensor_G6"),
        sdk="ai_edge_litert_sdk_google_tensor",
        install="pip install ai-edge-litert-sdk-google-tensor, which downloads Google's Tensor SDK",
    ),
    Vendor(
        name="samsung",
        title="Samsung",
        manufacturer="Samsung",
        plugin="samsung",
        chips=_chips("E9965"),
        sdk="ai_edge_litert_sdk_samsung",
        install="pip install ai-edge-litert-sdk-samsung-nightly, which needs Samsung's AI LiteCore",
    ),
)

VENDORS: Mapping[str, Vendor] = {vendor.name: vendor for vendor in _VENDORS}
"""By name."""


@dataclass(frozen=True)
class NpuTarget:
    """A value of `--npu`: the NPU of a system on a chip.

    Attributes:
        vendor: The vendor.
        chip: The system on a chip, a key of `vendor.chips`.
    """

    vendor: Vendor
    chip: str

    @property
    def name(self) -> str:
        """The value, such as "qualcomm:SM8650"."""
        return f"{self.vendor.name}:{self.chip}"

    @property
    def file_part(self) -> str:
        """The same as a part of file names: "qualcomm-SM8650"."""
        return f"{self.vendor.name}-{self.chip}"


def find_npus(names: Sequence[str]) -> list[NpuTarget]:
    """Returns the NPUs with these names, each once. Upper and lower case are the same.

    Raises:
        InputError: If there is no such vendor or chip; the message lists those that there are.
    """
    return list({npu.name: npu for npu in map(_find, names)}.values())


def _find(name: str) -> NpuTarget:
    vendor_name, _, chip = name.partition(":")
    vendor = VENDORS.get(vendor_name.lower())
    if vendor is None:
        raise InputError(
            Argument("npu", name),
            f" is not VENDOR:CHIP, such as qualcomm:SM8650; the vendors are {', '.join(VENDORS)}",
        )
    known = {each.lower(): each for each in vendor.chips}
    if chip.lower() not in known:
        raise InputError(
            Argument("npu", name),
            f": {vendor.title}'s compiler knows {', '.join(vendor.chips)}",
        )
    return NpuTarget(vendor, known[chip.lower()])
