"""Texts on which our reader of libconfig and the library itself differ; 600 in the suite, 10,000 in the acceptance suite."""

import random

from ota.errors import RefusedBundleError
from ota.formats.swupdate.libconfig import read_libconfig
from tests.factories.descriptions import MULTILINE, SYNTAX
from tests.peers import libconfig

#: words of our refusals of what the library takes; each is in docs/reference/sw-description.md
POLICIES = (
    "begins with 0", "does not fit", "NUL byte", "comment is not closed", "string is not closed", "not UTF-8", "not an ASCII character", "@include",
    "nested deeper", "is too long", "holds more than",
)  # fmt: skip
WORDS = [
    b"{", b"}", b"(", b")", b"[", b"]", b";", b",", b"=", b":", b'"', b'"x"', b'"a" "b"', b"\\", b"\\x41", b"\\n", b'\\"',
    b"/*", b"*/", b"//", b"#", b"\n", b"\r", b"\t", b"\f", b"\v", b" ", b"a", b"b = 1", b"c = { d = 2; }", b"true", b"FALSE",
    b"1", b"-1", b"+1", b"0", b"010", b"0x1F", b"0x", b"5L", b"5LL", b"1.5", b".5", b"5.", b".", b"1e3", b"1e", b"-", b"+",
    b"2147483647", b"2147483648", b"0xFFFFFFFF", b"9223372036854775807L", b"99999999999999999999", b"a-b", b"*", b"_", b"@",
    b'@include "x"\n', b"\xff", b"\xc3\xbc", b"\0", b"(1, 2)", b"[1, 2]", b"[ ]", b"( )", b"{ }", b'("x", 1, { y = 2; })', b"$",
]  # fmt: skip
PLAIN = [
    b"1", b"-1", b"+7", b"0", b"5L", b"0x1F", b"0xFFL", b"1.5", b".5", b"5.", b"1e3", b"-2.5E-3", b"true", b"False", b'"x"',
    b'"a" "b"', b'"a"/* */"b"', b'"\\x41\\n\\q\\\\"', b'"// { } #"', b'"\xc3\xbc"', b'""', b'"a\nb"', b"010", b"4294967296", b"-2147483648",
]  # fmt: skip
TEXTS = [
    b'a=1;b:"x" "y" c={d=0x10,e=5;f=8};', b"c=5L;f=+7;g=0xFFL;h=-0;i=00", b'l=(1,"a",(2,[3,4]),{x=1;});', b"a=[1,2L]",
    b"a=1.5;b=.5;c=5.;d=1e3;e=.;f=-.5e-3", b"a=true;b=FALSE;c=tRuE", b"*a=1;a-b=2;a_b=3", b"a=();b=[];c={}", b"a=[(1)]",
    b'a="tab\\t\\f\\r\\n\\b\\a\\v\\q\\x4"', b"a=1///*\nb=2", b"/***/a=/**/1", b'a="\\\\";b="\\"q"', b"A=1;a=2", b"a=1 2", b"a={b=1;b=2}",
    b"", b"\n", b"#\n", b"a", b"a=", b"=1", b"a=1;;", b"a=0L;b=0LL", b"a=1.5.5", b"a=-0x10", b"a=1L2", b"a=0b11", b"a=(,)", b"a=1e400",
]  # fmt: skip


def mutated_texts(count, seed):
    """Return texts that were written by chance, and good ones, most with a word or two exchanged."""
    source = random.Random(seed)
    good = [MULTILINE, *TEXTS, *(variant.text for variant in SYNTAX.values())]
    return [_mutated(source, source.choice([source.choice(good), _written(source)])) for _ in range(count)]


def _mutated(source, text):
    for _ in range(source.choice([0, 1, 1, 2])):
        at = source.randrange(len(text) + 1)
        cut = source.choice([0, 0, 0, 1, 2, 8])
        text = text[:at] + source.choice([b"", *WORDS]) + text[at + cut :]
    return text


def _written(source, depth=0):
    """Return settings, in one of the ways in which each may be written."""
    parts = []
    for number in range(source.randrange(5)):
        name = source.choice([b"a", b"B-c", b"x_1", b"*"]) + b"%d" % number
        value = _value(source, depth)
        parts += [_gap(source), name, _gap(source), source.choice([b"=", b":"]), _gap(source), value, _gap(source)]
        parts.append(source.choice([b";", b";", b",", b" "]))
    return b"".join(parts)


def _value(source, depth):
    kind = source.randrange(7 if depth < 4 else 4)
    if kind < 4:
        return source.choice(PLAIN)
    if kind == 4:
        return b"{" + _written(source, depth + 1) + b"}"
    if kind == 5:
        return b"(" + b",".join(_value(source, depth + 1) for _ in range(source.randrange(4))) + b")"
    return b"[" + b", ".join([source.choice(PLAIN)] * source.randrange(4)) + b"]"


def _gap(source):
    return source.choice([b"", b"", b"", b" ", b"\n", b"/* { */", b"// ;\n", b'# "\n', b"\t\r\f"])


def between(texts):
    """Return each text that the library takes and we read otherwise, or refuse without a stated reason; and vice versa."""
    wrong = []
    for text, theirs in zip(texts, libconfig.trees(texts), strict=True):
        try:
            ours, reason = plain(read_libconfig(text)), ""
        except RefusedBundleError as error:
            ours, reason = None, error.detail
        stated = ours is None and any(words in reason for words in POLICIES)
        if ours != theirs and not stated and theirs != libconfig.CRASHED:
            wrong.append((text, theirs, ours or reason))
    return wrong


def plain(setting):
    """Return a tree as the library's process prints it."""
    if setting.kind == "group":
        return ["group", {name: plain(one) for name, one in setting.members.items()}]
    if setting.kind in {"list", "array"}:
        return [setting.kind, [plain(one) for one in setting.elements]]
    if setting.kind == "string":
        return ["string", setting.value.encode().decode("latin-1")]
    return [setting.kind, repr(setting.value) if setting.kind == "float" else int(setting.value)]
