"""Adapters, one per library. Modules of absent libraries are never imported here."""

from __future__ import annotations

from bench.peers.base import Availability, Peer, Prepared
from bench.peers.convpool_peer import ConvpoolPeer
from bench.peers.jax_peer import JaxPeer
from bench.peers.onnxruntime_peer import OnnxRuntimePeer
from bench.peers.openvino_peer import OpenVinoPeer
from bench.peers.pytorch_peer import PyTorchPeer

__all__ = ["PEERS", "Availability", "Peer", "Prepared"]

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        ConvpoolPeer("convpool", "convpool", preallocates=True),
        ConvpoolPeer("convpool_fresh", "convpool", preallocates=False),
        ConvpoolPeer("reference", "convpool.reference", preallocates=False),
        PyTorchPeer("pytorch", channels_last=False),
        PyTorchPeer("pytorch_channels_last", channels_last=True),
        JaxPeer(),
        OnnxRuntimePeer(),
        OpenVinoPeer(),
    )
}
