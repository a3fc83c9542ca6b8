"""The web dashboard: a process of its own, which speaks to the admin APIs of gateways. It needs `pylae[dashboard]`."""
