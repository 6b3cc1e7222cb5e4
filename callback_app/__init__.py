"""The callback app: takes the gateway's pushes, keeps them, acknowledges them. It reads none: that is the worker's."""
