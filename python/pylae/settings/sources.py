"""The settings of sources of instances. Written by python/fields.py from the table of kinds."""

from __future__ import annotations

from pylae.registry.sources.consul import ConsulDiscovery
from pylae.registry.sources.dns import DnsDiscovery
from pylae.registry.sources.docker import DockerDiscovery
from pylae.registry.sources.file import FileDiscovery
from pylae.registry.sources.heartbeat import HeartbeatDiscovery

__all__ = ["ConsulDiscovery", "DnsDiscovery", "DockerDiscovery", "FileDiscovery", "HeartbeatDiscovery"]
