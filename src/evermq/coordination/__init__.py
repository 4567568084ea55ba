"""Adapters of the coordinator port: a directory of this machine, ZooKeeper, etcd."""
