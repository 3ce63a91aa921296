"""What a column holds, seen from its content and its name: kinds of personal and business data.

A kind is recognised by the share of valid values, by the column's name, or by both. What is reported is a
share, a count or a name of a kind; never a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from exchange.publishing import checksums
from exchange.publishing.checksums import Valid

__all__ = ["CHECKED", "HINTS", "Content", "Tally", "hinted", "is_numeric", "is_temporal"]


class Content(StrEnum):
    """Kinds of content that are recognised."""

    RESIDENT_IDENTITY = "resident-identity"
    CREDIT_CODE = "credit-code"
    BANK_CARD = "bank-card"
    PHONE = "phone"
    EMAIL = "email"
    PERSON_NAME = "person-name"
    ADDRESS = "address"
    BIRTH_DATE = "birth-date"
    AMOUNT = "amount"


# Surnames of about 85 of 100 people in China (Ministry of Public Security, yearly report on names), and some
# of two characters.
_SURNAMES: Final = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林罗高郑梁谢宋唐许韩邓冯曹彭曾肖田董潘袁蔡蒋余于杜叶程魏苏吕丁任卢姚沈"
    "钟姜崔谭陆范汪廖石金韦贾夏付方邹熊白孟秦邱侯江尹薛闫段雷龙黎史陶贺毛郝顾龚邵万覃武钱戴严莫孔向汤"
)
_NAME_FORM: Final = f"^(?:[{_SURNAMES}]|欧阳|上官|司马|诸葛|司徒|东方|皇甫|尉迟)[\u4e00-\u9fff·]{{1,3}}$"
_ADDRESS_FORM: Final = (
    "[\u4e00-\u9fff]{1,}(?:省|市|自治区|区|县|镇|乡|村|街道|路|街|巷|弄|号|栋|单元|室)"
    r"|\b\d{1,5}\s+\w+.*\b(?:STREET|ST|ROAD|RD|AVENUE|AVE|LANE|LN|DRIVE|DR|SQUARE)\b"
)
_SEPARATORS: Final = r"[\s\-./年月日]+"

_CHECKS: Final[Mapping[Content, Callable[[pa.Array, pa.Array], Valid]]] = MappingProxyType(
    {
        Content.RESIDENT_IDENTITY: lambda _, bare: checksums.resident_identity(bare),
        Content.CREDIT_CODE: lambda _, bare: checksums.credit_code(bare),
        Content.BANK_CARD: lambda _, bare: checksums.bank_card(bare),
        Content.PHONE: lambda _, bare: checksums.phone(bare),
        Content.EMAIL: lambda whole, _: checksums.email(whole),
        Content.PERSON_NAME: lambda whole, _: checksums.matches(whole, _NAME_FORM),
        Content.ADDRESS: lambda whole, _: checksums.matches(whole, _ADDRESS_FORM),
        Content.BIRTH_DATE: lambda _, bare: checksums.calendar_date(bare),
    }
)

CHECKED: Final = frozenset(_CHECKS) - {Content.PERSON_NAME, Content.ADDRESS}
"""Kinds of which a value is valid or not; names and addresses have no form that all of them keep."""

HINTS: Final[Mapping[Content, re.Pattern[str]]] = MappingProxyType(
    {
        Content.RESIDENT_IDENTITY: re.compile(
            r"id_?card|identity|id_?no\b|national_?id|身份证|证件号|公民号码"
        ),
        Content.CREDIT_CODE: re.compile(r"uscc|credit_?code|信用代码|组织机构代码|税号"),
        Content.BANK_CARD: re.compile(r"(bank|credit|debit)_?card|card_?(no|num)|银行卡|卡号|银行账号"),
        Content.PHONE: re.compile(r"phone|mobile|\btel(no|_|\b)|msisdn|手机|电话|联系方式"),
        Content.EMAIL: re.compile(r"e_?mail|邮箱|邮件地址|电子邮"),
        Content.PERSON_NAME: re.compile(
            r"^name$|(full|first|last|sur|given|family|customer|person|holder)_?name|姓名|联系人|户名"
        ),
        Content.ADDRESS: re.compile(r"addr|street|residence|地址|住址|住所|户籍"),
        Content.BIRTH_DATE: re.compile(r"birth|\bdob\b|\bborn\b|出生|生日"),
        Content.AMOUNT: re.compile(
            r"amount|amt|balance|income|salary|wage|price|revenue|turnover|limit|debt|loan_|payment|paid|bill"
            r"|金额|余额|收入|工资|薪|价|营业额|额度|欠款|贷款|税额|缴"
        ),
    }
)


def hinted(name: str) -> Content | None:
    """The kind that a column's name speaks of, if any."""
    plain = re.sub(r"[\s\-.]+", "_", name.casefold())
    return next((kind for kind, pattern in HINTS.items() if pattern.search(plain)), None)


def is_numeric(kind: pa.DataType) -> bool:
    """Whether a column holds numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_temporal(kind: pa.DataType) -> bool:
    """Whether a column holds dates or times."""
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_time(kind))


def _is_textual(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


class Tally:
    """Counts, batch by batch, how many values of a column are valid as each kind.

    After the first batch only those kinds are looked for that some values are valid as, or that the name
    speaks of.
    """

    def __init__(self, field: pa.Field) -> None:
        self.name, self.type = field.name, field.type
        self.hint = hinted(field.name)
        self.looked_at = 0
        self.valid: dict[Content, int] = {}
        self._kinds: tuple[Content, ...] = ()
        if _is_textual(field.type):
            self._kinds = tuple(_CHECKS)
        elif pa.types.is_integer(field.type):
            self._kinds = (Content.RESIDENT_IDENTITY, Content.BANK_CARD, Content.PHONE, Content.BIRTH_DATE)

    def add(self, array: pa.Array) -> None:
        """Take in one batch of the column."""
        if not self._kinds:
            return
        present = array.drop_null()
        texts = pc.utf8_upper(pc.utf8_trim_whitespace(present.cast(pa.string())))
        texts = texts.filter(pc.greater(pc.utf8_length(texts), 0))
        self.looked_at += len(texts)
        if not len(texts):
            return
        bare = pc.replace_substring_regex(texts, _SEPARATORS, "")
        for kind in self._kinds:
            valid = int(np.count_nonzero(_CHECKS[kind](texts, bare)))
            self.valid[kind] = self.valid.get(kind, 0) + valid
        self._kinds = tuple(
            kind for kind in self._kinds if self.valid[kind] * 100 >= self.looked_at or kind is self.hint
        )

    def share(self, kind: Content) -> int:
        """Valid values of a kind among those looked at, in millionths."""
        return self.valid.get(kind, 0) * 1_000_000 // self.looked_at if self.looked_at else 0
