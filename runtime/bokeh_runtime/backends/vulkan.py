"""Asks the Vulkan loader which driver runs a device.

Structures and functions: https://docs.vulkan.org/spec/latest/chapters/devsandqueues.html
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

from bokeh_runtime.backends.native_log import capture_native_log

_LIBRARY = "libvulkan.so.1"
_INSTANCE_CREATE_INFO = 1  # VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO
_PROPERTIES_BYTES = 4096  # more than VkPhysicalDeviceProperties has


class _InstanceCreateInfo(ctypes.Structure):
    """VkInstanceCreateInfo: no application, no layers, no extensions."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("flags", ctypes.c_uint32),
        ("application", ctypes.c_void_p),
        ("layer_count", ctypes.c_uint32),
        ("layers", ctypes.c_void_p),
        ("extension_count", ctypes.c_uint32),
        ("extensions", ctypes.c_void_p),
    )


class _Properties(ctypes.Structure):
    """The beginning of VkPhysicalDeviceProperties."""

    _fields_ = (
        ("api_version", ctypes.c_uint32),
        ("driver_version", ctypes.c_uint32),
        ("vendor", ctypes.c_uint32),
        ("device", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("name", ctypes.c_char * 256),
        ("cache_uuid", ctypes.c_uint8 * 16),
    )


def driver_identity(device: str) -> str | None:
    """Returns what tells a device's driver from any other version of it; None if it is not known.

    That is the driver's version, and the identity of its pipeline cache, which a driver changes
    with each build that compiles shaders otherwise.

    Args:
        device: Its name, as the driver gives it.
    """
    with capture_native_log():  # the loader tells of drivers that do not load
        try:
            found = sorted(
                f"{one.vendor:x}:{one.device:x} {one.driver_version:#x} "
                f"api {one.api_version:#x} {bytes(one.cache_uuid).hex()}"
                for one in _devices()
                if one.name.decode(errors="replace") == device
            )
        except (OSError, AttributeError):  # no loader, or not Vulkan's
            return None
    return ", ".join(found) or None


def _devices() -> Iterator[_Properties]:
    library = ctypes.CDLL(_LIBRARY)
    instance = ctypes.c_void_p()
    asked = _InstanceCreateInfo(type=_INSTANCE_CREATE_INFO)
    if library.vkCreateInstance(ctypes.byref(asked), None, ctypes.byref(instance)) != 0:
        return
    try:
        count = ctypes.c_uint32()
        library.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None)
        devices = (ctypes.c_void_p * count.value)()
        if library.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), devices) != 0:
            return
        for device in devices[: count.value]:
            memory = ctypes.create_string_buffer(_PROPERTIES_BYTES)
            library.vkGetPhysicalDeviceProperties(ctypes.c_void_p(device), memory)
            yield _Properties.from_buffer_copy(memory)
    finally:
        library.vkDestroyInstance(instance, None)
