"""Compile `inference.proto` into `wire.py`: `python -m infercast.router.rpc.compile`. Needs grpcio-tools (the dev extra)."""

import base64
import tempfile
import textwrap
from pathlib import Path

HERE = Path(__file__).parent
HEAD = (
    '"""`inference.proto` compiled by `compile.py`: a serialised FileDescriptorProto in base 64. Not edited by hand."""'
)


def compiled() -> bytes:
    """Return the serialised FileDescriptorProto of the .proto file beside this one."""
    from google.protobuf import descriptor_pb2
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.bin"
        code = protoc.main(["protoc", f"-I{HERE}", f"--descriptor_set_out={out}", "inference.proto"])
        if code:
            raise SystemExit(code)
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    return bytes(files.file[0].SerializeToString(deterministic=True))


def main() -> None:
    """Write `wire.py`."""
    lines = "\n".join(f'    "{line}"' for line in textwrap.wrap(base64.b64encode(compiled()).decode(), 110))
    (HERE / "wire.py").write_text(f"{HEAD}\n\nFILE = (\n{lines}\n)\n", encoding="utf-8")


if __name__ == "__main__":
    main()
