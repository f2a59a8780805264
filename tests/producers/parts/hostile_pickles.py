"""Pickles built to run code, to lie, to hang or to exhaust who reads them, by name."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator
from typing import Any

CALLS: dict[str, tuple[str, str, str]] = {
    "os.system": ("os", "system", "touch MARK"),
    "posix.system": ("posix", "system", "touch MARK"),
    "nt.system": ("nt", "system", "touch MARK"),
    "eval": ("builtins", "eval", "open('MARK','w')"),
    "eval of Python 2": ("__builtin__", "eval", "open('MARK','w')"),
    "exec": ("builtins", "exec", "open('MARK','w')"),
    "compile": ("builtins", "compile", "open('MARK','w')"),
    "import": ("builtins", "__import__", "antigravity"),
    "importlib": ("importlib", "import_module", "antigravity"),
    "pty": ("pty", "spawn", "/bin/true"),
    "subprocess": ("subprocess", "Popen", "touch MARK"),
    "check_output": ("subprocess", "check_output", "touch MARK"),
    "runpy": ("runpy", "_run_code", "open('MARK','w')"),
    "code": ("code", "interact", "x"),
    "bdb": ("bdb", "Bdb.run", "open('MARK','w')"),
    "pdb": ("pdb", "run", "open('MARK','w')"),
    "timeit": ("timeit", "timeit", "open('MARK','w')"),
    "cProfile": ("cProfile", "run", "open('MARK','w')"),
    "pydoc": ("pydoc", "locate", "antigravity"),
    "pip": ("pip", "main", "install"),
    "marshal": ("marshal", "loads", "x"),
    "pickle": ("pickle", "loads", "cos\nsystem\n(S'touch MARK'\ntR."),
    "joblib": ("joblib", "load", "MARK"),
    "numpy.load": ("numpy", "load", "MARK"),
    "numpy runstring": ("numpy.testing._private.utils", "runstring", "open('MARK','w')"),
    "torch.load": ("torch", "load", "MARK"),
    "torch.hub": ("torch.hub", "load", "MARK"),
    "torch.jit": ("torch.jit", "load", "MARK"),
    "torch collect_env": ("torch.utils.collect_env", "run", "touch MARK"),
    "torch inductor": ("torch._inductor.codecache", "compile_file", "MARK"),
    "cloudpickle": ("cloudpickle.cloudpickle", "_make_function", "x"),
    "dill": ("dill._dill", "_create_function", "x"),
    "urllib": ("urllib.request", "urlopen", "http://127.0.0.1:9/"),
    "socket": ("socket", "create_connection", "127.0.0.1"),
    "webbrowser": ("webbrowser", "open", "http://127.0.0.1:9/"),
    "open": ("builtins", "open", "MARK"),
    "io": ("io", "FileIO", "MARK"),
    "shutil": ("shutil", "rmtree", "MARK"),
    "unlink": ("os", "unlink", "MARK"),
    "ctypes": ("ctypes", "CDLL", "libc.so.6"),
    "breakpoint": ("builtins", "breakpoint", "x"),
    "getattr": ("builtins", "getattr", "x"),
    "operator": ("operator", "methodcaller", "x"),
    "functools": ("functools", "partial", "x"),
    "a module of this project": ("ckpt.formats", "inspect", "MARK"),
    "asyncio": ("asyncio.unix_events", "_UnixSubprocessTransport._start", "touch MARK"),
    "logging": ("logging.config", "listen", "x"),
    "venv": ("venv", "create", "MARK"),
    "uuid": ("uuid", "_get_command_stdout", "touch"),
    "profile": ("profile", "run", "open('MARK','w')"),
    "doctest": ("doctest", "debug_script", "open('MARK','w')"),
    "a name with dots": ("collections", "OrderedDict.__init__.__globals__", "x"),
    "a name with blanks": ("os ", " system", "touch MARK"),
    "a codec": ("_codecs", "decode", "x"),
}


def _text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def calls(mark: str) -> Iterator[tuple[str, bytes]]:
    """Every call by every opcode that calls; one that is made touches the file `mark`."""
    for name, (module, attribute, argument) in CALLS.items():
        argument = argument.replace("MARK", mark)
        named = f"{module}\n{attribute}\n".encode()
        line = b"S" + repr(argument).encode() + b"\n"
        yield f"reduce {name}", b"c" + named + b"(" + line + b"tR."
        yield f"inst {name}", b"(" + line + b"i" + named + b"."
        yield f"obj {name}", b"(c" + named + line + b"o."
        yield f"newobj {name}", b"\x80\x02c" + named + _text(argument) + b"\x85\x81."
        yield (
            f"newobj_ex {name}",
            b"\x80\x04" + _text(module) + _text(attribute) + b"\x93" + _text(argument) + b"\x85}\x92.",
        )
        yield (
            f"build {name}",
            b"\x80\x02}" + _text("a") + b"c" + named + b")\x81}" + _text("x") + _text(argument) + b"sbs.",
        )
        yield f"key {name}", b"\x80\x02}c" + named + _text(argument) + b"\x85RK\x01s."


class _State:
    """An object whose class wants to be asked for its state."""

    def __init__(self, call: Any) -> None:
        self.call = call

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return self.call, ("x",), {"__class__": "x", "__dict__": {"a": 1}}, iter([1, 2]), iter([("a", 1)])


def tricks() -> Iterator[tuple[str, bytes]]:
    """Chains, extensions, persistent ids, and opcodes in places where they do not belong."""
    getattr_chain = b"c__builtin__\ngetattr\n(c__builtin__\n__import__\n(S'os'\ntRS'system'\ntR(S'true'\ntR."
    yield "getattr chain", getattr_chain
    yield "call of a call", b"cos\nsystem\n(S'a'\ntR(S'b'\ntR."
    yield "call of a text", b"S'os.system'\n(S'a'\ntR."
    yield "call of a number", b"I1\n(S'a'\ntR."
    yield "call with no tuple", b"cos\nsystem\nS'a'\nR."
    yield "setstate", b"\x80\x02c__main__\nA\n)\x81}" + _text("__setstate__") + b"cos\nsystem\nsb" + _text("a") + b"b."
    yield "class replaced", b"\x80\x02c__main__\nA\n)\x81}" + _text("__class__") + b"cos\nsystem\nsb."
    yield "globals of a function", b"c__main__\nf.__globals__\n."
    for protocol in range(6):
        yield f"reduce_ex {protocol}", pickle.dumps(_State(print), protocol)
        yield f"exceptions {protocol}", pickle.dumps([ValueError("x"), range(3), slice(1), Ellipsis, int], protocol)
    for name, opcode in (("ext1", b"\x82\x01"), ("ext2", b"\x83\x01\x02"), ("ext4", b"\x84\x01\x02\x03\x04")):
        yield name, b"\x80\x02" + opcode + b")R."
    yield "ext0", b"\x80\x02\x82\x00."
    ids: dict[str, bytes] = {
        "none": b"N",
        "number": b"K\x01",
        "text": _text("storage"),
        "empty": b")",
        "list": b"]",
        "module": b"(" + _text("module") + b"cos\nsystem\n" + _text("0") + b"t",
        "wrong class": b"(" + _text("storage") + b"cos\nsystem\n" + _text("0") + _text("cpu") + b"K\x04t",
        "wrong name": b"(" + _text("storage") + b"ctorch\nFloatStorage\nK\x01" + _text("cpu") + b"K\x04t",
        "wrong count": b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu") + b"Nt",
        "upwards": b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("../../x") + _text("cpu") + b"K\x04t",
        "negative": b"("
        + _text("storage")
        + b"ctorch\nFloatStorage\n"
        + _text("0")
        + _text("cpu")
        + b"J\xff\xff\xff\xfft",
        "nested": b"(" + _text("storage") + b"Q" + _text("0") + _text("cpu") + b"K\x04t",
    }
    for name, made in ids.items():
        yield f"persistent id {name}", b"\x80\x02" + made + b"Q."
        yield (
            f"persistent id {name} in a tensor",
            (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + made + b"QK\x00K\x04\x85K\x01\x85\x89}tR."),
        )
    yield "persistent id as a line", b"P../../etc/passwd\n."
    yield "memo that is missing", b"\x80\x02h\x07."
    yield "memo far away", b"\x80\x02N" + b"j\xff\xff\xff\xff."
    yield "memo 2^28", b"\x80\x02]r\x00\x00\x00\x10."
    yield "memo 2^32", b"\x80\x02]r\xff\xff\xff\xff."
    yield "memo below zero", b"Np-1\ng-1\n."
    yield "memo with many digits", b"Np" + b"9" * 4000 + b"\n."
    yield "protocol 255", b"\x80\xffN."
    yield "protocol 6", b"\x80\x06N."
    yield "protocol twice", b"\x80\x02\x80\x05\x80\x00N."
    yield "protocol 5 in text", b"(lp0\n\x80\x05."
    yield "buffers", b"\x80\x05" + b"\x97\x98" * 1000 + b"."
    yield "stack underflow", b"\x80\x02" + b"0" * 10 + b"."
    yield "marks alone", b"\x80\x02" + b"(" * 9000 + b"."
    yield "mark at the end", b"\x80\x02N(."
    yield "pops of marks", b"\x80\x02" + b"(1" * 9000 + b"N."
    yield "odd items", b"\x80\x02}(K\x01u."
    yield "items of a tuple", b"\x80\x02)K\x01K\x02s."
    yield "unknown opcode", b"\x80\x02\xff."
    yield "nothing but stop", b"\x80\x02."
    yield "no stop", b"\x80\x02}"
    yield "bytes behind", b"\x80\x02N." + b"\x80\x02N."
    yield "text that is not UTF-8", b"\x80\x02X\x02\x00\x00\x00\xff\xfe."
    yield "name that is not UTF-8", b"\x80\x02c\xff\n\xfe\n."
    yield "name of control characters", b"\x80\x04" + _text("\x1b[31m\x07") + _text("\n\r\x1b]0;x\x07") + b"\x93)R."
    yield "name that is a number", b"\x80\x04K\x01K\x02\x93."
    yield (
        "terminal escapes",
        b"\x80\x02}" + _text("epoch") + b"K\x03" + b"s" + _text("\x1b[2J\x1b]0;x\x07") + _text("\x9b31m") + b"s.",
    )
    yield (
        "right to left",
        b"\x80\x02}" + _text("config") + b"}" + _text("\u202egnp.exe\u2066") + _text("\u202e") + b"ss.",
    )
    yield "line without end", b"S'" + b"a" * 100_000
    yield "global without end", b"c" + b"a" * 100_000
    yield "escapes in text", b"S'\\x1b\\x00\\xff\\'\n."
    yield "text with a lone quote", b"S'\n."
    yield "float of text", b"Fnothing\n."
    yield "float of digits", b"F" + b"9" * 4000 + b"\n."
    yield "integer of digits", b"I" + b"9" * 4090 + b"\n."


def lies() -> Iterator[tuple[str, bytes]]:
    """Lengths beyond what is there."""
    for name, opcode, width in (
        ("BINBYTES", b"B", 4),
        ("BINBYTES8", b"\x8e", 8),
        ("BYTEARRAY8", b"\x96", 8),
        ("BINUNICODE", b"X", 4),
        ("BINUNICODE8", b"\x8d", 8),
        ("LONG4", b"\x8b", 4),
        ("BINSTRING", b"T", 4),
        ("FRAME", b"\x95", 8),
    ):
        for bits in (16, 28, 31, 32, 40, 62, 63, 64):
            if bits <= width * 8:
                length = ((1 << bits) - 1).to_bytes(width, "little")
                yield f"{name} of 2^{bits}", b"\x80\x05" + opcode + length + b"xx."
    yield "LONG1 of nothing", b"\x80\x02\x8a\x00."
    yield "frames in frames", b"\x80\x04" + b"\x95\x09\x00\x00\x00\x00\x00\x00\x00" * 1000 + b"N."
    yield "frame that ends early", b"\x80\x04\x95\x01\x00\x00\x00\x00\x00\x00\x00" + _text("abc") + b"."


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small or large streams that ask for much time or memory."""
    shared = b"\x80\x02" + _text("a" * (1 << 20)) + b"q\x000"
    number = b"\x8b" + struct.pack("<I", 4 << 20) + b"\x7f" * (4 << 20) + b"q\x000"
    listing = b"](" + b"N" * 100_000 + b"eq\x000"
    yield "nested lists", b"\x80\x02" + b"]" * 3_000_000 + b"a" * 2_999_999 + b"."
    yield "nested tuples", b"\x80\x02N" + b"\x85" * 3_000_000 + b"."
    yield "nested tuples by marks", b"\x80\x02" + b"(" * 3_000_000 + b"t" * 3_000_000 + b"."
    yield "nested dicts", b"\x80\x02" + (b"}" + b"K\x01") * 900_000 + b"N" + b"s" * 900_000 + b"."
    yield "nested keys", b"\x80\x02}K\x01" + b"\x85" * 900_000 + b"K\x01s."
    yield "nested calls", b"\x80\x02cos\nsystem\nq\x00" + b"h\x00" * 900_000 + b")" + b"R" * 900_000 + b"."
    yield "nested states", b"\x80\x02c__main__\nA\n)\x81" + b"c__main__\nA\n)\x81" * 100_000 + b"b" * 100_000 + b"."
    laughs = b"".join(b"(" + (b"h" + bytes([n])) * 10 + b"lq" + bytes([n + 1]) for n in range(200))
    yield "billion laughs", b"\x80\x02]q\x00" + laughs + b"."
    tuples = b"".join(b"(" + (b"h" + bytes([n])) * 10 + b"tq" + bytes([n + 1]) for n in range(200))
    yield "billion tuples", b"\x80\x02]q\x00" + tuples + b"."
    keyed = b"".join(
        b"}(" + b"".join(b"K" + bytes([k]) + b"h" + bytes([n]) for k in range(100)) + b"uq" + bytes([n + 1])
        for n in range(20)
    )
    for place in ("metrics", "config", "hyper_parameters", "callbacks", "optimizer", "rng_state", "model", "args"):
        yield f"laughs in {place}", b"\x80\x02}q\x00" + _text(place) + b"}K\x07K\x08sq\x00" + keyed + b"s."
    yield "a list in itself", b"\x80\x02]q\x00h\x00a."
    yield "a dict in itself", b"\x80\x02}q\x00" + _text("a") + b"h\x00s."
    yield "a tuple in itself", b"\x80\x02]q\x00h\x00\x85q\x01ah\x01."
    yield "lists in themselves", b"\x80\x02]q\x00(" + b"]q\x01h\x01a" * 200_000 + b"e."
    yield "an object in itself", b"\x80\x02c__main__\nA\n)\x81q\x00}" + _text("a") + b"h\x00sb."
    yield "many lists", b"\x80\x02(" + b"]" * 3_000_000 + b"t."
    yield "many dicts", b"\x80\x02(" + b"}K\x01Ns" * 900_000 + b"t."
    yield "many tuples", b"\x80\x02](" + b"N\x85" * 1_900_000 + b"e."
    yield "many objects", b"\x80\x02cos\nsystem\nq\x00](" + b"h\x00)R" * 900_000 + b"e."
    yield "many sets", b"\x80\x04](" + b"\x8f" * 3_000_000 + b"e."
    yield "many buffers", b"\x80\x05](" + b"\x97" * 3_000_000 + b"e."
    yield "many persistent ids", b"(" + b"P\n" * 1_900_000 + b"l."
    yield "many integers", b"\x80\x02" + (b"](" + b"J\xff\xff\xff\x7f" * 900_000 + b"e") * 4 + b"."
    yield "many floats", b"\x80\x02](" + b"G?\xf0\x00\x00\x00\x00\x00\x01" * 1_700_000 + b"e."
    yield "many texts", b"\x80\x04](" + b"\x8c\x02ab" * 3_500_000 + b"e."
    yield "many memos", b"\x80\x02N" + b"".join(b"r" + struct.pack("<I", n) for n in range(1_900_000)) + b"."
    yield "many names", b"\x80\x02" + b"".join(b"ca\n%d\n0" % n for n in range(600_000)) + b"N."
    yield "many marks", b"\x80\x02" + b"(" * 4_500_000 + b"."
    yield "many protocols", b"\x80\x02" * 4_500_000 + b"N."
    yield "many frames", b"\x80\x04" + b"\x95\0\0\0\0\0\0\0\0" * 3_000_000 + b"N."
    yield "wide text", b"\x80\x02" + _text("a" * (12 << 20) + "\U0001f600") + b"."
    yield "long bytes", b"\x80\x04\x8e" + struct.pack("<Q", 15 << 20) + b"a" * (15 << 20) + b"."
    yield "too large", b"\x80\x04\x8e" + struct.pack("<Q", 20 << 20) + b"a" * (20 << 20) + b"."
    colliding = ((1 << 61) - 1).__mul__
    pairs = b"".join(b"\x8a\x0c" + colliding(n + 1).to_bytes(12, "little") + b"N" for n in range(100_000))
    yield "hashes that collide", b"\x80\x02}(" + pairs + b"u."
    tupled = b"".join(b"\x8a\x0c" + colliding(n + 1).to_bytes(12, "little") + b"\x85N" for n in range(50_000))
    yield "tuples that collide", b"\x80\x02}(" + tupled + b"u."
    yield (
        "long key of a tuple",
        shared
        + b"}"
        + b"".join(b"(" + b"h\x00" * 15 + b"M" + struct.pack("<H", n) + b"tNs" for n in range(9000))
        + b".",
    )
    yield (
        "long key of an object",
        shared + b"}" + b"".join(b"c__main__\nA%d\nh\x00\x85RNs" % n for n in range(9000)) + b".",
    )
    yield (
        "long names",
        b"\x80\x04" + shared[2:] + b"](" + b"".join(b"h\x00" + _text(str(n)) + b"\x93" for n in range(9000)) + b"e.",
    )
    for name, call in (
        ("torch.Size", b"ctorch\nSize\n"),
        ("torch.device", b"ctorch\ndevice\n"),
        ("pathlib.Path", b"cpathlib\nPath\n"),
        ("datetime.datetime", b"cdatetime\ndatetime\n"),
        ("datetime.date", b"cdatetime\ndate\n"),
        ("datetime.timedelta", b"cdatetime\ntimedelta\n"),
        ("complex", b"cbuiltins\ncomplex\n"),
        ("numpy.dtype", b"cnumpy\ndtype\n"),
        ("bytes", b"cbuiltins\nbytes\n"),
        ("list", b"cbuiltins\nlist\n"),
        ("set", b"cbuiltins\nset\n"),
        ("dict", b"ccollections\nOrderedDict\n"),
        ("deque", b"ccollections\ndeque\n"),
    ):
        for kind, made in (("text", shared), ("list", b"\x80\x02" + listing), ("number", b"\x80\x02" + number)):
            calls = b"h\x01h\x00\x85R" * 100_000
            yield f"{name} of a long {kind}", made + call + b"q\x010](" + calls + b"e."
        calls = b"h\x01h\x00R" * 100_000
        many = b"\x80\x02(" + b"K\x01" * 300_000 + b"tq\x000"
        yield f"{name} of many arguments", many + call + b"q\x010](" + calls + b"e."
    scalar = b"cnumpy.core.multiarray\nscalar\nq\x010cnumpy\ndtype\n" + _text("f8") + b"\x89\x88\x87Rq\x020"
    yield "numpy scalars of a long text", shared + scalar + b"](" + b"h\x01h\x02h\x00\x86R" * 200_000 + b"e."
    code = b"cnumpy\ndtype\n(" + _text("<" * (1 << 20)) + b"K\x00K\x01tRq\x000cnumpy.core.multiarray\nscalar\nq\x010"
    yield "numpy dtypes of a long code", b"\x80\x02" + code + b"](" + b"h\x01h\x00U\x0812345678\x86R" * 200_000 + b"e."
    yield (
        "long integers shown",
        b"\x80\x02"
        + number
        + b"}"
        + _text("config")
        + b"}("
        + b"".join(b"M" + struct.pack("<H", n) + b"h\x00" for n in range(20_000))
        + b"us.",
    )
    yield "long integers as keys", b"\x80\x02" + number + b"}" + b"h\x00Ns" * 20_000 + b"."
    slots = b"}(" + b"".join(b"M" + struct.pack("<H", n) + b"N" for n in range(60_000)) + b"u"
    yield (
        "objects with two states",
        (b"\x80\x02c__main__\nA\n)\x81" + slots + slots + b"\x86bq\x000" + b"](" + b"h\x00" * 900_000 + b"e."),
    )
    yield (
        "states merged again",
        (b"\x80\x02" + slots + slots + b"\x86q\x000c__main__\nA\nq\x010](" + b"h\x01)\x81h\x00b" * 300_000 + b"e."),
    )
    meta = b"ctorch._utils\n_rebuild_meta_tensor_no_storage\nctorch\nfloat32\nK\x01\x85K\x01\x85\x87Rq\x050"
    deep = b"".join(_text("b" * 399) + b"}" for _ in range(190))
    leaves = b"".join(_text(f"{n:08d}") + b"h\x05" for n in range(100_000))
    yield "long names of tensors", b"\x80\x02" + meta + b"}" + deep + b"(" + leaves + b"u" + b"s" * 190 + b"."
    yield "one tensor often", b"\x80\x02" + meta + b"](" + b"h\x05" * 1_900_000 + b"e."
    dotted = b"".join(_text(f"a.b{n}") + b"h\x06" for n in range(1000))
    inner = b"}(" + b"".join(_text(f"{n}") + b"h\x05" for n in range(300)) + b"uq\x060"
    yield "dotted keys", b"\x80\x02" + meta + inner + b"}(" + dotted + b"u."
    generators = b"}(" + b"".join(_text(f"k{n}") + b"]" for n in range(50_000)) + b"uq\x000"
    many_rng = b"".join(_text(f"rng_state_{n}") + b"h\x00" for n in range(100_000))
    yield "random states of random states", b"\x80\x02" + generators + b"}(" + many_rng + b"u."
    escapes = _text("\x1b" * 4000) + b"q\x000"
    yield "escapes shown often", b"\x80\x02" + escapes + b"}" + _text("config") + b"](" + b"h\x00" * 25_000 + b"es."
