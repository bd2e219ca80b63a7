"""Ethernet frames: ARP and UDP over IPv4, on packet sockets with a filter in the kernel."""

import ctypes
import socket
import struct

ETH_P_IP = 0x0800
ETH_P_ARP = 0x0806
BROADCAST = b"\xff" * 6
ARP_REQUEST = 1
ARP_REPLY = 2
ECHO_PORT = 7
SO_ATTACH_FILTER = 26
SO_RCVBUFFORCE = 33

_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")


def open_socket(interface, protocol, udp_port=None, udp_source=True):
    """Opens a packet socket for one protocol; with `udp_port` only for UDP from (or to) that port."""
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    packets.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 22)
    keep = []
    if udp_port is not None:
        # BPF: ldb [23]; jeq 17 else drop; ldh [34 or 36]; jeq port else drop; accept; drop
        where = 34 if udp_source else 36
        program = [
            (0x30, 0, 0, 23), (0x15, 0, 3, 17), (0x28, 0, 0, where), (0x15, 0, 1, udp_port),
            (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0),
        ]
        code = b"".join(struct.pack("=HBBI", *line) for line in program)
        keep = ctypes.create_string_buffer(code)
        head = struct.pack("HL", len(program), ctypes.addressof(keep))
        packets.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, head)
    packets.bind((interface, protocol))
    packets.setblocking(False)
    return packets


def received(packets):
    """Yields all frames that wait at a socket."""
    while True:
        try:
            yield packets.recv(2048)
        except BlockingIOError:
            return


def arp(operation, sender_mac, sender_ip, target_mac, target_ip, to):
    """Encodes an ARP frame."""
    body = _ARP.pack(1, ETH_P_IP, 6, 4, operation, sender_mac, sender_ip, target_mac, target_ip)
    return _ETHERNET.pack(to, sender_mac, ETH_P_ARP) + body


def read_arp(frame):
    """Decodes ARP: (operation, sender MAC, sender IP, target IP), or None."""
    if len(frame) < 42:
        return None
    fields = _ARP.unpack_from(frame, 14)
    if fields[:4] != (1, ETH_P_IP, 6, 4):
        return None
    return fields[4], fields[5], fields[6], fields[8]


def _checksum(header):
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def udp(source_mac, source_ip, source_port, target_mac, target_ip, target_port, payload):
    """Encodes a frame with a UDP datagram (without checksum, as IPv4 allows)."""
    length = _UDP.size + len(payload)
    fields = (0x45, 0, _IPV4.size + length, 0, 0x4000, 64, 17)
    header = _IPV4.pack(*fields, 0, source_ip, target_ip)
    header = _IPV4.pack(*fields, _checksum(header), source_ip, target_ip)
    return b"".join((
        _ETHERNET.pack(target_mac, source_mac, ETH_P_IP), header,
        _UDP.pack(source_port, target_port, length, 0), payload,
    ))


def read_udp(frame):
    """Decodes UDP: (to MAC, from MAC, from IP, from port, to IP, to port, payload), or None."""
    if len(frame) < 42 or frame[14] != 0x45 or frame[23] != 17:
        return None
    source, target, length, _ = _UDP.unpack_from(frame, 34)
    payload = frame[42:34 + length]
    return frame[0:6], frame[6:12], frame[26:30], source, frame[30:34], target, payload
