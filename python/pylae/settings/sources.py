"""The settings of sources of instances. Written by python/fields.py from the table of kinds."""

from __future__ import annotations

from pylae.registry.consul import ConsulDiscovery
from pylae.registry.dns import DnsDiscovery
from pylae.registry.docker import DockerDiscovery
from pylae.registry.file import FileDiscovery
from pylae.registry.heartbeat import HeartbeatDiscovery

__all__ = ["ConsulDiscovery", "DnsDiscovery", "DockerDiscovery", "FileDiscovery", "HeartbeatDiscovery"]
