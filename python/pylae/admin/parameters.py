"""Parts of paths that several topics have."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

ServiceName = Annotated[str, Path(description="Name of the service.", examples=["users"])]
RouteName = Annotated[str, Path(description="Name of the route.", examples=["orders"])]
InstanceName = Annotated[str, Path(description="`host:port` of the instance.", examples=["10.0.0.7:8000"])]
