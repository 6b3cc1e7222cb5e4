"""The callback app takes the gateway's pushes, keeps them and acknowledges them. Workers read them."""
