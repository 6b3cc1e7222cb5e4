"""The carrier that a mobile's first three digits were given to.

It is the first carrier of the number. The owner may have ported it since (携号转网), which no prefix shows.

The source is the ministry's own list: 我国公众移动通信网网号及H0分配情况 (MIIT, as of March 2023), made under
电信网编号计划.
"""

from enum import StrEnum


class Carrier(StrEnum):
    """A carrier; the value is its name for people."""

    MOBILE = "移动"
    UNICOM = "联通"
    TELECOM = "电信"
    BROADNET = "广电"
    VIRTUAL = "virtual"
    """移动转售: sold by other companies, on the network of one of the first three."""
    OTHER = "other"
    """Satellites, and prefixes that were given out after that list."""


_PREFIXES = {
    Carrier.MOBILE: "134 135 136 137 138 139 147 148 150 151 152 157 158 159 172 178 182 183 184 187 188 195 197 198",
    Carrier.UNICOM: "130 131 132 145 146 155 156 166 175 176 185 186 196",
    Carrier.TELECOM: "133 149 153 173 177 180 181 189 190 191 193 199",
    Carrier.BROADNET: "192",
    Carrier.VIRTUAL: "162 165 167 170 171",
}
_CARRIERS = {prefix: carrier for carrier, prefixes in _PREFIXES.items() for prefix in prefixes.split()}

PREFIX = 3
"""How many digits of a mobile name its carrier."""


def carrier_of(mobile: str) -> Carrier:
    """The carrier of a mobile, or of its first three digits."""
    return _CARRIERS.get(mobile[:PREFIX], Carrier.OTHER)
