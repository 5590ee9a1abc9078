"""What leads to a person is masked next to Chinese, and nothing that merely is a number."""

from __future__ import annotations

import pytest

from pipeline.clean.text.mend import mend
from pipeline.clean.text.pii import is_card, is_identity, masked
from pipeline.clean.text.rules import rules_for

IDENTITY = "11010519491231002X"
CARD = "6222020200112233446"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("邮箱zhang.san@example.com。", "邮箱[邮箱]。"),
        ("Email:a_b+c@mail.example.cn好", "Email:[邮箱]好"),
        ("联系-zhang@x.com、张三/_li@x.com，a%b@x.com.", "联系-[邮箱]、张三/[邮箱]，[邮箱]."),
        ("电话13812345678好", "电话[电话]好"),
        ("13812345678/13912345678,13712345678", "[电话]/[电话],[电话]"),
        ("手机：138-1234-5678、138 1234 5678", "手机：[电话]、[电话]"),
        ("+86 13812345678，+8613812345678，86-138-1234-5678", "[电话]，[电话]，[电话]"),
        ("1、13812345678", "1、[电话]"),
        ("座机010-62345678，0571-87654321转1", "座机[电话]，[电话]转1"),
        ("（010）6234 5678 (021)62345678-801", "[电话] [电话]"),
        ("电话：01062345678", "电话：[电话]"),
        ("热线400-820-8820、4008208820、400 820 8820、800-8208-820", "热线[电话]、[电话]、[电话]、[电话]"),
        (f"身份证{IDENTITY}号", "身份证[身份证]号"),
        (f"身份证{IDENTITY.lower()}", "身份证[身份证]"),
        ("老证110105491231002", "老证[身份证]"),
        (f"卡号{CARD}", "卡号[银行卡]"),
        ("卡4111 1111 1111 1111和4111-1111-1111-1111", "卡[银行卡]和[银行卡]"),
        ("QQ12345678", "QQ[号码]"),
        (
            "加QQ：12345678吧，扣扣 1234567，Q群:12345678，qq群号123456",
            "加QQ：[号码]吧，扣扣 [号码]，Q群:[号码]，qq群号[号码]",
        ),
        ("微信号：zhangsan，微信号zhang_san", "微信号：[微信]，微信号[微信]"),
        ("加微信abcdefg吧", "加微信[微信]吧"),
        ("微信:abc123，VX：abc_123，vx abc123，wechat: abc-123", "微信:[微信]，VX：[微信]，vx [微信]，wechat: [微信]"),
        ("微信：12345678", "微信：[微信]"),
        ("电话 13812345678 https://a.b/13812345678", "电话 [电话] https://a.b/13812345678"),
    ],
)
def test_what_is_masked(raw: str, clean: str) -> None:
    assert masked(raw) == clean
    assert mend([raw], rules_for("light")) == [clean]
    assert mend([raw], rules_for("light", mask=False)) == [raw]


@pytest.mark.parametrize(
    "text",
    [
        "版本1.2.3.4，地址192.168.1.1，v10.0.19041.1",
        "3.13812345678，0.4111111111111111，1999年，2023-01-01 12:30:00，20230101123000",
        "编号2138123456789，113812345678，a13812345678，13812345678b，sha d13812345678f",
        "UUID 123e4567-e89b-12d3-a456-426614174000",
        "ISBN 978-7-302-12345-6，9787302123456，ISSN 1000-1234",
        "110105194912310021，4111111111111112，62220202001122334461234",
        "13800000000元，4000000000万",
        "@用户名，@all，@user@mastodon.social，a@b，<a@b.c>，图标@2x.png，git@github.com:a/b",
        "`zhang@example.com`\n```\n13812345678\n```",
        "微信支付，微信Windows版，微信iPhone12，微信公众号，VX是什么，weixin.qq.com",
        "QQ2013，QQ浏览器，QQ空间10000人，qq.com",
        "1,381,234,5678；12:30:45；第13812章",
    ],
)
@pytest.mark.parametrize("profile", ["web", "prose", "light"])
def test_what_stays(profile: str, text: str) -> None:
    assert mend([text], rules_for(profile)) == [text]


def test_identity_cards_are_told_by_province_day_and_check_digit() -> None:
    assert is_identity(IDENTITY)
    assert is_identity(IDENTITY.lower())
    assert not is_identity("110105194912310021")
    assert not is_identity("99010519491231002X")
    assert not is_identity("11010519491331002X")
    assert is_identity("110105491231002")
    assert not is_identity("110105491331002")


@pytest.mark.parametrize("number", ["4111111111111111", "5500005555555559", "340000000000009", CARD])
def test_bank_cards_are_told_by_issuer_and_check_digit(number: str) -> None:
    assert is_card(number)
    wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert not is_card(wrong)
    assert not is_card("9" + number[1:])
