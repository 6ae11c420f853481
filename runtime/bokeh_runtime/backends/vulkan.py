"""Queries the Vulkan loader for the driver of a device.

Structures and functions: https://docs.vulkan.org/spec/latest/chapters/devsandqueues.html
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

from bokeh_runtime.backends.native_log import capture_native_log

_LIBRARY = "libvulkan.so.1"
_INSTANCE_CREATE_INFO = 1  # VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO
_PROPERTIES_BYTES = 4096  # larger than VkPhysicalDeviceProperties


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
    """Returns a text that identifies the exact driver of a device; None if it is unknown.

    It contains the driver version and the pipeline cache UUID, which a driver changes with each
    build that compiles shaders differently.

    Args:
        device: Name of the device, as its driver reports it.
    """
    with capture_native_log():  # the loader logs drivers that cannot be loaded
        try:
            identities = sorted(
                f"{properties.vendor:x}:{properties.device:x} {properties.driver_version:#x} "
                f"api {properties.api_version:#x} {bytes(properties.cache_uuid).hex()}"
                for properties in _devices()
                if properties.name.decode(errors="replace") == device
            )
        except (OSError, AttributeError):  # no Vulkan loader is installed
            return None
    return ", ".join(identities) or None


def _devices() -> Iterator[_Properties]:
    library = ctypes.CDLL(_LIBRARY)
    instance = ctypes.c_void_p()
    create_info = _InstanceCreateInfo(type=_INSTANCE_CREATE_INFO)
    if library.vkCreateInstance(ctypes.byref(create_info), None, ctypes.byref(instance)) != 0:
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
