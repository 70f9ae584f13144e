"""What KServe's own SDK clients get from a server: python -m tests.kserve_client URL GRPC MODEL, a line of JSON each.

In a process of its own: its gRPC messages and tritonclient's share names.
"""

from __future__ import annotations

import asyncio
import json
import sys

import numpy as np


async def main(url: str, grpc: str, name: str) -> None:
    from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

    images = np.random.default_rng(0).integers(0, 256, (2, 1, 28, 28), dtype=np.uint8)

    def request(values: np.ndarray, binary: bool) -> InferRequest:
        tensor = InferInput("images", list(values.shape), {"uint8": "UINT8", "float32": "FP32"}[values.dtype.name])
        tensor.set_data_from_numpy(values, binary_data=binary)
        return InferRequest(name, [tensor])

    requests = [request(values, binary) for values in (images, images / np.float32(255)) for binary in (True, False)]
    rest, rpc = InferenceRESTClient(RESTConfig(protocol="v2")), InferenceGRPCClient(grpc)
    health = [await rest.is_server_live(url), await rest.is_server_ready(url), await rest.is_model_ready(url, name)]
    health += [await rpc.is_server_live(), await rpc.is_server_ready(), await rpc.is_model_ready(name)]
    print(json.dumps(health))
    for asked in requests:
        for answer in (await rest.infer(url, asked, model_name=name), await rpc.infer(asked)):
            radius = next(output for output in answer.outputs if output.name == "radius")
            print(json.dumps(radius.as_numpy().tolist()))
    await rest.close()
    await rpc.close()


if __name__ == "__main__":
    arguments, sys.argv = sys.argv[1:], sys.argv[:1]  # which the SDK reads
    asyncio.run(main(*arguments))
