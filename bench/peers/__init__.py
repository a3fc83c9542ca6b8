"""The gateways that are compared. `PEERS` is the table; `pylae` may stand in it several times, once per build."""

from bench.peers.base import Peer, Setup
from bench.peers.envoy import Envoy
from bench.peers.floor import Floor
from bench.peers.haproxy import HAProxy
from bench.peers.nginx import Nginx
from bench.peers.pylae import Plain, Pylae

__all__ = ["PEERS", "HAProxy", "Peer", "Plain", "Pylae", "Setup"]

PEERS: dict[str, type[Peer]] = {"floor": Floor, "pylae": Pylae, "haproxy": HAProxy, "nginx": Nginx, "envoy": Envoy}
