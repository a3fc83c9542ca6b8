"""What tests over real sockets are made of: peers, instances and running gateways."""
