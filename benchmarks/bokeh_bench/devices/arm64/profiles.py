"""The CPUs that QEMU emulates: what `--device arm64:PROFILE` chooses from."""

from __future__ import annotations

from dataclasses import dataclass

from bokeh_runtime.errors import InputError


@dataclass(frozen=True)
class Profile:
    """A CPU, for which XNNPACK chooses its kernels.

    Attributes:
        name: The value of `PROFILE`.
        summary: One line for the help.
        emulator_cpu: QEMU's value of `-cpu`. Its instruction sets decide which kernels can be
            chosen.
        features: The instruction sets, as Linux lists them in /proc/cpuinfo.
        part: The CPU's number among those of ARM, as in /proc/cpuinfo.
    """

    name: str
    summary: str
    emulator_cpu: str
    features: str
    part: str

    @property
    def cpuinfo(self) -> str:
        """Content of /proc/cpuinfo. XNNPACK reads the processor from it, and aborts on x86."""
        return (
            "processor\t: 0\n"
            "BogoMIPS\t: 48.00\n"
            f"Features\t: {self.features}\n"
            "CPU implementer\t: 0x41\n"
            "CPU architecture: 8\n"
            "CPU variant\t: 0x3\n"
            f"CPU part\t: {self.part}\n"
            "CPU revision\t: 0\n"
            "\n"
        )


_CORTEX_A76 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop "
    "asimddp"
)
CORTEX_A76 = Profile(
    "cortex-a76",
    "ARMv8.2 with int8 dot products, as in phones of 2019 to 2021",
    "cortex-a76",
    _CORTEX_A76,
    "0xd0b",
)
# A Neoverse N2 is a server's relative of the Cortex-A710. LiteRT 2.3 crashes if /proc/cpuinfo names
# the Cortex-A710 itself. QEMU 7.2 has neither, so this is "max", which has all instruction sets.
# Without SVE and SME, because XNNPACK would choose other kernels with them. Pointer authentication
# takes time under QEMU and changes no kernel.
NEOVERSE_N2 = Profile(
    "neoverse-n2",
    "ARMv9 without SVE, with int8 matrix instructions (i8mm), as in phones from 2022 on",
    "max,sve=off,sme=off,pauth=off",
    f"{_CORTEX_A76} sha512 asimdfhm flagm i8mm bf16",
    "0xd49",
)
PROFILES = {profile.name: profile for profile in (CORTEX_A76, NEOVERSE_N2)}
DEFAULT_PROFILE = CORTEX_A76


def find_profile(name: str | None) -> Profile:
    """Returns the profile of a name; the default one for None.

    Raises:
        InputError: If there is none; the message lists the profiles.
    """
    if name is None:
        return DEFAULT_PROFILE
    if name not in PROFILES:
        raise InputError(f"--device arm64:{name}: use arm64:{' or arm64:'.join(PROFILES)}")
    return PROFILES[name]
